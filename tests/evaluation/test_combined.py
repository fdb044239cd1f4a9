"""A frozen head and TF-IDF together: how much each is trusted, and that what was chosen can be used."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tutelage.evaluation.classifiers import tfidf_baseline
from tutelage.evaluation.combined import EVEN, Combined, combine, pool_weights
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.contest import Classifiers
from tutelage.evaluation.labelling import ACCURACY, MAJORITY, TFIDF
from tutelage.evaluation.spec import Subject
from tutelage.inference.unseen import Unseen
from tutelage.store.errors import DamagedError
from tutelage.store.events import EventLog

LABELS = ["dogs", "cats"]  # not in the order of the alphabet, in which TF-IDF has them
TEMPERATURE = 2.0


def log_shares(right: float, targets: np.ndarray, seed: int) -> np.ndarray:
    """[texts, 3] log-probabilities of who is right in a share of the texts, and as sure as that."""
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(targets)) < right, targets, (targets + rng.integers(1, 3, len(targets))) % 3)
    shares = np.full((len(targets), 3), (1 - right) / 2)
    shares[np.arange(len(targets)), said] = right
    return np.log(shares)


def test_who_is_right_more_often_is_trusted_as_far_as_it_should_be() -> None:
    targets = np.random.default_rng(0).integers(0, 3, 4000)
    good, fair = log_shares(0.8, targets, 1), log_shares(0.6, targets, 2)
    # Both say what they know, and independently: the product of both is right.
    assert pool_weights(good, fair, targets) == pytest.approx((1, 1), abs=0.12)
    assert pool_weights(fair, good, targets) == pytest.approx((1, 1), abs=0.12)
    # Who is twice as sure as it may be counts half, and who knows nothing counts nothing.
    assert pool_weights(2 * good, fair, targets) == pytest.approx((0.5, 1), abs=0.12)
    assert pool_weights(good, 3 * log_shares(1 / 3 + 0.01, targets, 3), targets)[0] == pytest.approx(1, abs=0.1)


def test_the_weights_are_the_most_probable_ones() -> None:
    targets = np.random.default_rng(1).integers(0, 3, 40)
    one, other = log_shares(0.7, targets, 1), log_shares(0.5, targets, 2)

    def loss(a: float, b: float) -> float:
        scores = a * one + b * other
        chosen = scores[np.arange(40), targets] - np.log(np.exp(scores).sum(axis=1))
        return -chosen.sum() + ((a - EVEN) ** 2 + (b - EVEN) ** 2) / (2 * 0.5**2)

    found = pool_weights(one, other, targets)
    grid = np.arange(0, 3, 0.05)
    assert loss(*found) <= min(loss(a, b) for a in grid for b in grid) + 1e-6


def test_few_texts_move_the_weights_little_even_where_all_are_right() -> None:
    targets = np.array([0, 1, 2, 0])
    sure = log_shares(0.999, targets, 0)
    for weight in pool_weights(sure, sure, targets):
        assert weight == pytest.approx(EVEN, abs=0.1)


def texts(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Half of the texts say their label in a word; of the others only the model knows it."""
    rows = []
    for n in range(first, first + count):
        label = LABELS[n // 2 % 2]
        rows.append({"id": str(n), "label": label, "text": f"text {n} " + (f"of {label}" if n % 2 else "of pets")})
    return rows


class Model:
    """Knows the label of the texts that do not say it, and guesses evenly else; its scores were divided by 2."""

    config = SimpleNamespace(ordinal=False, labels=tuple(LABELS))

    def classify(self, asked: list[str]) -> list[dict[str, float]]:
        found = []
        for text in asked:
            number = int(text.split()[1])
            dogs = 0.5 if number % 2 else 1 / (1 + np.exp((-2 if number // 2 % 2 == 0 else 2) / TEMPERATURE))
            found.append({"dogs": float(dogs), "cats": 1 - float(dogs)})
        return found


def unseen(rows: list[dict[str, Any]]) -> Unseen:
    calibrated = np.array([[one["dogs"], one["cats"]] for one in Model().classify([row["text"] for row in rows])])
    raw = calibrated**TEMPERATURE
    raw /= raw.sum(axis=1, keepdims=True)
    return Unseen(raw.astype(np.float32), np.arange(len(rows)) % 3, np.array([TEMPERATURE]))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "head"
    (path / "data").mkdir(parents=True)
    for name, rows in (("train", texts(60)), ("heldout", texts(200, 1000))):
        (path / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "data" / "labels.json").write_text(json.dumps({"cats": 130, "dogs": 130}))
    (path / "model.safetensors").write_bytes(bytes(2_000_000))
    unseen(texts(60)).save(path)
    return path


def contest_of(place: Path, out: Path) -> tuple[dict[str, Any], list[Any], Any, Classifiers]:
    contest = Classifiers(EvaluateConfig(bootstrap=100), EventLog())
    contest.predict(Subject(name="head", makes="classifier", heldout="labels"), place, Model())  # type: ignore[arg-type]
    figures: list[Any] = []
    comparisons: list[Any] = []
    choices, _ = contest.measure(figures, comparisons, out, 1)
    return next(figure for figure in figures if figure["measure"] == ACCURACY), comparisons, choices[0], contest


def test_what_both_know_is_one_more_row_and_is_recommended_where_it_is_better(place: Path, tmp_path: Path) -> None:
    accuracy, comparisons, choice, contest = contest_of(place, tmp_path)
    by = {row["who"]: row["value"] for row in accuracy["rows"]}
    assert list(by) == ["head", "head + TF-IDF", TFIDF, MAJORITY]
    assert by["head + TF-IDF"] > 0.95 > 0.9 > max(by["head"], by[TFIDF])
    assert ("head + TF-IDF", "head") in {(one["a"], one["b"]) for one in comparisons}
    assert choice["use"] == "head + TF-IDF" and choice["text"].startswith("use head + TF-IDF")
    assert choice["megabytes"]["head + TF-IDF"] == pytest.approx(2 + choice["megabytes"][TFIDF], abs=2e-3)
    assert "head + TF-IDF: sum of both log-probabilities" in accuracy["note"]
    assert contest.milliseconds["head + TF-IDF"] >= contest.milliseconds["head"]
    # What is kept says the same of the same texts.
    kept = Combined.load(tmp_path / "head+tfidf")
    found = kept.classify(Model(), [row["text"] for row in texts(200, 1000)])  # type: ignore[arg-type]
    right = [
        max(one, key=lambda label: one[label]) == row["label"] for one, row in zip(found, texts(200, 1000), strict=True)
    ]
    assert np.mean(right) == pytest.approx(by["head + TF-IDF"], abs=1e-6) and kept.step == "head"
    assert all(sum(one.values()) == pytest.approx(1) for one in found)


def test_it_is_not_spoken_of_where_it_is_not_better(place: Path, tmp_path: Path) -> None:
    for name, count, first in (("train", 60, 0), ("heldout", 200, 1000)):
        rows = [{**row, "text": f"{row['text']} {row['label']}"} for row in texts(count, first)]  # words say it all
        (place / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    accuracy, _, choice, _ = contest_of(place, tmp_path)
    assert "head + TF-IDF" in {row["who"] for row in accuracy["rows"]}
    assert choice["use"] == TFIDF and "head + TF-IDF" not in choice["text"]


def test_a_model_without_what_it_said_unseen_is_not_combined(place: Path, tmp_path: Path) -> None:
    (place / "data" / "unseen.safetensors").unlink()
    accuracy, *_ = contest_of(place, tmp_path)
    assert [row["who"] for row in accuracy["rows"]] == ["head", TFIDF, MAJORITY]


def test_one_that_adds_nothing_is_said_and_left_out(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    monkeypatch.setattr("tutelage.evaluation.combined.pool_weights", lambda *_: (0.9, 0.0))
    contest = Classifiers(EvaluateConfig(bootstrap=100), EventLog(listeners=(heard.append,)))
    contest.predict(Subject(name="head", makes="classifier", heldout="labels"), place, Model())  # type: ignore[arg-type]
    figures: list[Any] = []
    contest.measure(figures, [], tmp_path, 1)
    assert "head + TF-IDF" not in {row["who"] for figure in figures for row in figure["rows"]}
    assert [one for one in heard if "head + TF-IDF is left out" in str(one.get("message"))]
    assert not (tmp_path / "head+tfidf").exists()


def test_the_temperature_of_the_head_is_undone(place: Path) -> None:
    rows = texts(60)
    linear = tfidf_baseline(rows, rows[:1])
    found = combine("head", unseen(rows), LABELS, rows, linear, 0)
    warm = unseen(rows)
    other = combine("head", Unseen(warm.probabilities, warm.fold, np.array([1.0])), LABELS, rows, linear, 0)
    assert found is not None and other is not None
    assert found.model_weight == pytest.approx(TEMPERATURE * other.model_weight)
    assert found.lexical_weight == pytest.approx(other.lexical_weight)


def test_a_label_of_one_text_is_no_reason_to_trust_nobody() -> None:
    rows = [*texts(59), {"id": "59", "label": "cows", "text": "text 59 of cows"}]
    linear = tfidf_baseline(rows, rows[:1])
    with_cows = np.concatenate([unseen(rows).probabilities, np.full((60, 1), 1e-4, np.float32)], axis=1)
    found = combine("head", Unseen(with_cows, np.arange(60) % 3, np.ones(1)), [*LABELS, "cows"], rows, linear, 0)
    assert found is not None and found.lexical_weight > 0.5
    assert combine("head", Unseen(with_cows, np.arange(60) % 3, np.ones(1)), LABELS, rows, linear, 0) is None


def test_damaged_files_are_named(place: Path, tmp_path: Path) -> None:
    contest_of(place, tmp_path)
    (tmp_path / "head+tfidf" / "combined.json").write_text("{}")
    with pytest.raises(DamagedError, match=r"combined\.json"):
        Combined.load(tmp_path / "head+tfidf")
    (place / "data" / "unseen.safetensors").write_bytes(b"no")
    with pytest.raises(DamagedError, match="unseen"):
        Unseen.load(place)
