"""Figures of a classifier: natural shares, labels that are absent, verdicts against each baseline."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tutelage.evaluation.classifiers import Prediction, tfidf_baseline
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.labelling import (
    ACCURACY,
    ECE,
    F1,
    MAJORITY,
    TFIDF,
    classification_figures,
    natural_weights,
    predict,
)
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog

CONFIG = EvaluateConfig(bootstrap=100, confidence=0.9)
LABELS = [f"label{i:02}" for i in range(12)]
NATURAL = dict.fromkeys(LABELS, 10) | {"label07": 220}


def _rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Capped rows: every label as often as every other."""
    generator = np.random.default_rng(seed)
    return [{"text": f"{LABELS[i % 12]}word {generator.integers(50)}", "label": LABELS[i % 12]} for i in range(count)]


def _figures(
    natural: dict[str, int] | None, labels: list[str] | None = None, heldout: list[dict[str, Any]] | None = None
) -> tuple[dict[tuple[str, str], dict[str, Any]], dict[tuple[str, str], dict[str, Any]], dict[str, str]]:
    heldout = heldout or _rows(240, 2)
    labels = labels or [row["label"] for row in heldout]
    model = {"classify": Prediction(labels, [0.9] * len(labels))}
    train = _rows(120, 1)
    linear = tfidf_baseline(train, heldout, seed=1)
    figures, comparisons, _ = classification_figures(model, linear, train, heldout, CONFIG, 1, natural)
    rows = {(figure["measure"], row["who"]): row for figure in figures for row in figure["rows"]}
    said = {(entry["measure"], entry["b"]): dict(entry) for entry in comparisons if entry["a"] == "classify"}
    return rows, said, {figure["measure"]: figure["note"] for figure in figures}


def test_the_majority_is_taken_before_capping() -> None:
    capped, _, _ = _figures(None)
    assert capped[ACCURACY, MAJORITY]["value"] == pytest.approx(1 / 12, abs=1e-6)
    natural, said, notes = _figures(NATURAL)
    assert natural[ACCURACY, MAJORITY]["value"] == pytest.approx(220 / 330, abs=1e-6)
    assert natural[ECE, MAJORITY]["value"] == pytest.approx(0.0, abs=1e-6)  # as sure as it is right
    assert "weighted" in notes[ACCURACY]
    assert natural[ACCURACY, "classify"]["value"] == 1.0
    assert said[ACCURACY, MAJORITY]["difference"] == pytest.approx(100 * 110 / 330, abs=1e-4)
    assert said[ACCURACY, MAJORITY]["outcome"] == "better"


def test_a_model_is_weighted_to_the_natural_shares_too() -> None:
    heldout = _rows(240, 2)
    never = ["label00" if row["label"] == "label07" else row["label"] for row in heldout]
    rows, said, _ = _figures(NATURAL, never, heldout)
    assert rows[ACCURACY, "classify"]["value"] == pytest.approx(110 / 330, abs=1e-6)
    assert rows[ACCURACY, "classify"]["low"] >= 0
    assert said[ACCURACY, TFIDF]["outcome"] == "worse"
    # label00: 10 right, 10 + 220 predicted, 10 true; label07: never; the other ten are perfect.
    assert rows[F1, "classify"]["value"] == pytest.approx((20 / 240 + 0 + 10) / 12, abs=1e-6)


def test_shares_that_are_natural_already_stay_as_they_are() -> None:
    truth = ["a"] * 60 + ["b"] * 40
    assert natural_weights(truth, None) is None
    assert natural_weights(truth, {"a": 610, "b": 390}) is None
    assert natural_weights(["a"] * 5, {"a": 610, "b": 390}) is None
    weights = natural_weights(truth, {"a": 100, "b": 900, "dropped": 5000})
    assert weights is not None
    assert weights[0] == pytest.approx(0.1 / 0.6)
    assert weights[-1] == pytest.approx(0.9 / 0.4)
    assert weights.sum() == pytest.approx(100)
    with pytest.raises(InputError, match="'b' is not in the natural distribution"):
        natural_weights(truth, {"a": 3, "b": 0})


def test_dropped_and_absent_labels_are_named() -> None:
    _, _, notes = _figures({**NATURAL, "rare": 17, "rarer": 0})
    assert "2 labels ('rare', 'rarer') are not among them, 4.9 % of all texts" in notes[ACCURACY]
    seen = [row for row in _rows(240, 2) if row["label"] != "label11"]
    labels = ["label11", *[row["label"] for row in seen[1:]]]
    rows, _, notes = _figures(None, labels, seen)
    assert "1 label ('label11') is not in the held-out texts" in notes[F1]
    # One of 20 texts of label00 is called label11, which is no term of the mean: 2 * 19 / (19 + 20) and ten ones.
    assert rows[F1, "classify"]["value"] == pytest.approx((38 / 39 + 10) / 11, abs=1e-6)


def test_every_measure_is_compared_with_every_baseline_on_the_same_items() -> None:
    heldout = _rows(240, 2)
    half = [row["label"] if i % 2 else "label00" for i, row in enumerate(heldout)]
    rows, said, notes = _figures(None, half, heldout)
    assert set(said) == {(measure, other) for measure in (ACCURACY, F1) for other in (TFIDF, MAJORITY)}
    assert said[F1, TFIDF]["outcome"] == said[ACCURACY, TFIDF]["outcome"] == "worse"
    assert said[F1, MAJORITY]["outcome"] == said[ACCURACY, MAJORITY]["outcome"] == "better"
    assert said[F1, TFIDF]["difference"] == pytest.approx(
        rows[F1, "classify"]["value"] - rows[F1, TFIDF]["value"], abs=2e-6
    )
    assert said[ACCURACY, TFIDF]["verdict"].endswith("(exact McNemar test)")
    assert "90 % interval" in said[ACCURACY, TFIDF]["verdict"]
    assert "90 % Wilson intervals" in notes[ACCURACY]
    assert "95 %" not in str(said) + str(notes)


def test_one_text_gives_no_winner() -> None:
    rows, said, _ = _figures(None, ["label00"], [{"text": "nothing", "label": "label00"}])
    assert {entry["outcome"] for entry in said.values()} == {"too few items"}
    assert rows[ACCURACY, "classify"]["low"] is None
    assert rows[F1, "classify"]["low"] is None


def test_predictions_are_in_the_order_of_the_texts() -> None:
    class Model:
        config = SimpleNamespace(ordinal=False)

        def classify(self, texts: list[str]) -> list[dict[str, float]]:
            return [{"long": 0.8, "short": 0.2} if len(text) > 3 else {"short": 0.5, "long": 0.5} for text in texts]

    found = predict(Model(), "labels", ["abcdef", "a", "abcd"], CONFIG, EventLog())  # type: ignore[arg-type]
    assert (found.labels, found.confidence) == (["long", "long", "long"], [0.8, 0.5, 0.8])
    assert found.shares[1] == {"short": 0.5, "long": 0.5}
