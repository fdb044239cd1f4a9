"""What is measured of a step that holds out labels or pairs, item by item."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tutelage.ablation import measure
from tutelage.ablation.measure import Items, step_items
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.likelihood import Scored
from tutelage.inference.language_model import LanguageModel
from tutelage.store.events import EventLog


def held_out(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


LABELLED = [{"id": str(at), "text": f"text {at}", "label": "ab"[at % 2]} for at in range(6)]
PAIRS = [{"id": str(at), "prompt": f"p{at}", "chosen": "yes", "rejected": "no"} for at in range(4)]


def test_items_are_those_that_every_arm_held_out(tmp_path: Path) -> None:
    models = [held_out(tmp_path / "one", LABELLED), held_out(tmp_path / "two", LABELLED[2:])]
    items = step_items(models, "labels", 3)
    assert (items.kind, items.measure, items.units) == ("labels", "bits per text", "texts")
    assert len(items.rows) == 3 and items.sizes == (1, 1, 1) and (items.left_out, items.cut) == (2, 1)
    pairs = step_items([held_out(tmp_path / "pairs", PAIRS)], "pairs", 9)
    assert (pairs.measure, pairs.units, pairs.sizes) == ("errors per pair", "pairs", (1,) * 4)


class Classifier:
    """Says `a` with a chance of 0.75, whatever the text; knows no other label than `a` and `b`."""

    def classify(self, texts: list[str]) -> list[dict[str, float]]:
        return [{"a": 0.75, "b": 0.25} for _ in texts]


def test_a_classifier_loses_the_bits_of_the_right_label() -> None:
    rows = [{"text": "x", "label": label} for label in ("a", "b", "unknown")]
    items = Items("labels", tuple(rows), ("",) * 3, (1,) * 3)
    lm = cast(LanguageModel, Classifier())
    assert measure._bits(lm, items, EvaluateConfig(batch=2), EventLog()) == pytest.approx(
        [-np.log2(0.75), 2.0, -np.log2(measure.LEAST_CHANCE)]
    )


def test_a_preference_model_loses_the_pairs_whose_rejected_answer_is_likelier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Per token: a long chosen answer is not held against it."""
    scored = Scored(np.array([-4.0, -9.0, -2.0]), np.array([4.0, 3.0, 1.0]), np.array([-3.0, -2.0, -2.0]),
                    np.array([1.0, 1.0, 1.0]))  # fmt: skip
    monkeypatch.setattr(measure, "score_rows", lambda *_: scored)
    items = Items("pairs", tuple(PAIRS[:3]), ("",) * 3, (1,) * 3)
    assert measure._bits(cast(LanguageModel, None), items, EvaluateConfig(), EventLog()) == [0.0, 1.0, 0.5]
