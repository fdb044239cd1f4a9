"""Classifiers of the same held-out rows stand in one figure; of shares of the rows, in a learning curve."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.contest import Classifiers
from tutelage.evaluation.labelling import ACCURACY, MAJORITY, TFIDF
from tutelage.evaluation.lexical import LexicalClassifier
from tutelage.evaluation.spec import Subject
from tutelage.store.events import EventLog

CONFIG = EvaluateConfig(bootstrap=100)
TRUTH = [("cats" if n % 3 else "dogs", f"text {n} of {'cats' if n % 3 else 'dogs'}") for n in range(300)]


class Model:
    """Right in a given share of the texts."""

    config = SimpleNamespace(ordinal=False, labels=("cats", "dogs"))

    def __init__(self, right: float) -> None:
        self.right = right

    def classify(self, texts: list[str]) -> list[dict[str, float]]:
        found = []
        for text in texts:
            says = text.split()[-1] if int(text.split()[1]) % 100 < 100 * self.right else "dogs"
            found.append({"cats": 0.9 if says == "cats" else 0.1, "dogs": 0.1 if says == "cats" else 0.9})
        return found


def directory(path: Path, train: int, held: range) -> Path:
    (path / "data").mkdir(parents=True)
    for name, numbers in (("train", range(train)), ("heldout", held)):
        rows = [{"id": str(n), "label": TRUTH[n % 300][0], "text": TRUTH[n % 300][1]} for n in numbers]
        (path / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "data" / "labels.json").write_text(json.dumps({"cats": 200, "dogs": 100}))
    (path / "model.safetensors").write_bytes(bytes(2_000_000))
    return path


@pytest.fixture
def measure(tmp_path: Path) -> Any:
    def run(*parties: tuple[str, float, float, int, range]) -> Any:
        """parties: name, share of the texts that it has right, share of the rows, their number, held-out rows."""
        contest = Classifiers(CONFIG, EventLog())
        for name, right, share, train, held in parties:
            subject = Subject(name=name, makes="classifier", heldout="labels", share=share)
            contest.predict(subject, directory(tmp_path / name, train, held), Model(right))  # type: ignore[arg-type]
        figures: list[Any] = []
        comparisons: list[Any] = []
        choices, curves = contest.measure(figures, comparisons, tmp_path, 1)
        return figures, comparisons, choices, curves

    return run


def test_the_same_held_out_rows_make_one_figure_and_one_choice(measure: Any, tmp_path: Path) -> None:
    figures, comparisons, choices, curves = measure(
        ("head", 0.6, 1, 40, range(100, 300)), ("lora", 0.9, 1, 40, range(100, 300))
    )
    accuracy = next(figure for figure in figures if figure["measure"] == ACCURACY)
    assert [row["who"] for row in accuracy["rows"]] == ["head", "lora", TFIDF, MAJORITY]
    assert accuracy["task"] == "classification" and not curves
    pairs = {(one["a"], one["b"]): one["outcome"] for one in comparisons if one["measure"] == ACCURACY}
    assert pairs["lora", "head"] == "better" and (TFIDF, MAJORITY) in pairs
    (choice,) = choices
    assert choice["use"] == TFIDF and choice["megabytes"]["lora"] == 2.0  # its words give the label away
    kept = LexicalClassifier.load(tmp_path / "tfidf")
    assert kept.classify(["nothing but cats"])[0]["cats"] > 0.5


def test_other_held_out_rows_are_another_task(measure: Any) -> None:
    figures, _, choices, _ = measure(("pets", 0.9, 1, 40, range(100, 300)), ("more", 0.9, 1, 40, range(50, 300)))
    assert {figure["task"] for figure in figures} == {"classification: pets", "classification: more"}
    assert len(choices) == 2


def test_shares_of_the_rows_make_a_curve_and_no_rivals(measure: Any) -> None:
    held = range(100, 300)
    figures, _, _, curves = measure(
        ("head", 0.9, 1, 96, held), ("head-1of8", 0.5, 1 / 8, 12, held), ("head-1of4", 0.7, 1 / 4, 24, held),
        ("head-1of2", 0.8, 1 / 2, 48, held),
    )  # fmt: skip
    assert {row["who"] for figure in figures for row in figure["rows"]} == {"head", TFIDF, MAJORITY}
    found = {curve["who"]: curve for curve in curves}
    assert found["head"]["rows"] == found[TFIDF]["rows"] == [12, 24, 48, 96]
    assert found["head"]["accuracy"] == sorted(found["head"]["accuracy"]) and found["head"]["gain"] > 1
    assert np.isfinite(found[TFIDF]["gain"])
