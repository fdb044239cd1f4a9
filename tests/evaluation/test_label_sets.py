"""Multi-label figures: against scikit-learn's, with the baselines beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tutelage.evaluation.classifiers import tfidf_multilabel
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.label_sets import (
    EXACT,
    FREQUENT,
    MACRO,
    MICRO,
    LabelSets,
    macro_f1,
    micro_f1,
    most_frequent,
)
from tutelage.evaluation.labelling import TFIDF
from tutelage.evaluation.lexical import LexicalClassifier
from tutelage.evaluation.spec import Subject
from tutelage.store.events import EventLog

LABELS = ("cats", "dogs", "rain")


def row(number: int) -> dict[str, Any]:
    """Each label has its word; a text may have none."""
    labels = [label for label, every in zip(LABELS, (2, 3, 5), strict=True) if number % every == 0]
    return {"id": str(number), "text": f"note {number} {' and '.join(labels) or 'nothing'}", "labels": labels}


class Model:
    """Right in every text whose number is below `right` of 100, and without a label in the others."""

    class config:
        labels = LABELS
        multi_label = True

    def __init__(self, right: int) -> None:
        self.right = right

    def classify(self, texts: list[str]) -> list[dict[str, float]]:
        return [
            {label: 0.9 if label in text and int(text.split()[1]) % 100 < self.right else 0.2 for label in LABELS}
            for text in texts
        ]


def directory(path: Path) -> Path:
    (path / "data").mkdir(parents=True)
    for name, numbers in (("train", range(60)), ("heldout", range(100, 300))):
        rows = [row(number) for number in numbers]
        (path / "data" / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    (path / "model.safetensors").write_bytes(bytes(2_000_000))
    return path


def test_models_stand_beside_tfidf_and_what_is_frequent(tmp_path: Path) -> None:
    contest = LabelSets(EvaluateConfig(bootstrap=100), EventLog())
    for name, right in (("good", 100), ("poor", 50)):
        subject = Subject(name=name, makes="classifier", heldout="label sets")
        contest.predict(subject, directory(tmp_path / name), Model(right))  # type: ignore[arg-type]
    figures: list[Any] = []
    comparisons: list[Any] = []
    (choice,) = contest.measure(figures, comparisons, tmp_path, 1)
    values = {one["measure"]: {each["who"]: each["value"] for each in one["rows"]} for one in figures}
    assert list(values) == [MICRO, MACRO, EXACT] and list(values[MICRO]) == ["good", "poor", TFIDF, FREQUENT]
    assert values[MICRO]["good"] == values[EXACT]["good"] == 1 > values[MICRO]["poor"] > values[MICRO][FREQUENT]
    verdicts = {(one["a"], one["b"]): one["outcome"] for one in comparisons if one["measure"] == MICRO}
    assert verdicts["good", FREQUENT] == verdicts["poor", FREQUENT] == "better" and verdicts["poor", "good"] == "worse"
    assert choice["use"] == TFIDF  # the words give the labels away
    kept = LexicalClassifier.load(tmp_path / "tfidf")
    assert kept.multi_label
    (found,) = kept.classify(["cats and rain"])
    assert found["cats"] > 0.5 and found["rain"] > 0.5 > found["dogs"]


def test_f1_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    truth, chosen = rng.random((50, 6)) < 0.3, rng.random((50, 6)) < 0.4
    truth[:, 0] = False  # a label that no text has is no term of the macro mean
    assert micro_f1(chosen, truth) == pytest.approx(f1_score(truth, chosen, average="micro"))
    there = f1_score(truth[:, 1:], chosen[:, 1:], average="macro")
    assert macro_f1(chosen, truth) == pytest.approx(there)
    nothing = np.zeros((3, 2), bool)
    assert micro_f1(nothing, nothing) == macro_f1(nothing, nothing) == 1
    assert micro_f1(~nothing, nothing) == 0


def test_the_frequent_labels_are_the_constant_answer_with_the_highest_micro_f1() -> None:
    rng = np.random.default_rng(1)
    for shares in ((0.9, 0.8, 0.1, 0.05), (0.1, 0.05, 0.02, 0.3), (0.5, 0.5, 0.5, 0.5)):
        train = rng.random((400, 4)) < np.array(shares)
        answers = [np.array([bool(bits >> at & 1) for at in range(4)]) for bits in range(1, 16)]
        best = max(micro_f1(np.tile(answer, (400, 1)), train) for answer in answers)
        assert micro_f1(np.tile(most_frequent(train), (400, 1)), train) == pytest.approx(best)


def test_tfidf_of_a_label_that_all_texts_have() -> None:
    train = [{"text": f"word{n % 4} again", "labels": ["all"] + ["even"] * (n % 2 == 0)} for n in range(40)]
    found = tfidf_multilabel(train, ["word0 again", "word1 again"])
    assert found.classes == ("all", "even")
    assert found.probabilities[:, 0].min() > 0.9 and found.probabilities[0, 1] > 0.5 > found.probabilities[1, 1]
