"""The classification baseline has to be a strong one, in any script."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tutelage.evaluation.classifiers import _features, _fitted, _in_row_space, _stacked, majority, tfidf_baseline
from tutelage.evaluation.lexical import SETTINGS, WEIGHTS, LexicalClassifier
from tutelage.store.errors import DamagedError, InputError
from tutelage.store.events import EventLog

TOPICS = {
    "graphs": ["node", "edge", "path", "graph", "cycle", "degree"],
    "text": ["string", "character", "encode", "unicode", "format", "pattern"],
    "files": ["open", "path", "directory", "write", "read", "buffer"],
}
UNSPACED = {"rain": "雨雲傘嵐", "food": "米魚茶鍋", "road": "車道橋駅"}


def _labelled(seed: int, count: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    common = ["the", "returns", "value", "of", "given", "object", "if", "not", "with"]
    labels = [str(label) for label in generator.choice(list(TOPICS), size=count, p=[0.5, 0.3, 0.2])]
    texts = [" ".join([*generator.choice(TOPICS[label], 3), *generator.choice(common, 8)]) for label in labels]
    return [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]


def _right(labels: list[str], rows: list[dict[str, Any]]) -> float:
    return sum(label == row["label"] for label, row in zip(labels, rows, strict=True)) / len(rows)


def test_learns_topics_and_gives_probabilities() -> None:
    held = _labelled(2, 200)
    found = tfidf_baseline(_labelled(1, 300), held, strengths=(1.0, 10.0))
    assert _right(found.labels, held) > 0.93
    assert found.classes == ("files", "graphs", "text")
    assert found.probabilities.shape == (200, 3)
    assert np.allclose(found.probabilities.sum(axis=1), 1.0)
    assert found.strength in (1.0, 10.0)
    assert found.milliseconds_per_text > 0
    # Weights of 3 labels in 8 bytes each, idf in 4 and some letters for each feature.
    assert 0.01 < found.megabytes < 0.2
    prediction = found.prediction
    assert prediction.labels == found.labels
    assert prediction.confidence == pytest.approx([float(row.max()) for row in found.probabilities])


def test_is_deterministic_and_says_how_far_it_is() -> None:
    events: list[dict[str, Any]] = []
    train, held = _labelled(1, 120), _labelled(2, 30)
    first = tfidf_baseline(train, held, EventLog(listeners=(events.append,)))
    second = tfidf_baseline(train, held)
    assert np.array_equal(first.probabilities, second.probabilities)
    assert events[-1]["done"] == events[-1]["total"] == 4


def test_a_script_without_spaces_is_learned_by_its_characters() -> None:
    generator = np.random.default_rng(0)

    def rows(count: int) -> list[dict[str, Any]]:
        labels = [str(label) for label in generator.choice(list(UNSPACED), size=count)]
        texts = [generator.choice(list(UNSPACED[label] + "一二三四五六七八九十"), 12) for label in labels]
        return [{"text": "".join(text), "label": label} for text, label in zip(texts, labels, strict=True)]

    held = rows(100)
    assert _right(tfidf_baseline(rows(300), held).labels, held) > 0.85


def test_words_that_differ_only_by_their_ends_help() -> None:
    train = [{"text": f"{stem}{end}", "label": stem} for stem in ("walk", "sing") for end in ("s", "ed", "ing", "er")]
    held = [{"text": "walkable", "label": "walk"}, {"text": "singable", "label": "sing"}]
    assert tfidf_baseline(train, held).labels == ["walk", "sing"]


def test_the_strength_is_chosen_on_training_texts() -> None:
    """Noise in every label but the topic's: a strong fit learns the noise by heart."""
    generator = np.random.default_rng(3)
    train = _labelled(1, 240)
    for row in train[::3]:
        row["label"] = str(generator.choice(list(TOPICS)))
    assert tfidf_baseline(train, train[:1], strengths=(1.0, 1000.0)).strength == 1.0
    assert tfidf_baseline(train, train[:1], strengths=(1000.0,)).strength == 1000.0


def test_rare_labels_and_one_label_are_no_error() -> None:
    train = [*_labelled(1, 40), {"text": "alone in the world", "label": "once"}]
    found = tfidf_baseline(train, [{"text": "alone in the world"}])
    assert found.labels == ["once"]
    one = tfidf_baseline([{"text": "a", "label": "x"}] * 2, [{"text": "b"}, {"text": ""}])
    assert one.labels == ["x", "x"]
    assert one.prediction.confidence == [1.0, 1.0]
    few = tfidf_baseline([{"text": "yes sure", "label": "y"}, {"text": "no never", "label": "n"}], [{"text": "never"}])
    assert few.labels == ["n"]


def test_nothing_to_count_is_an_error() -> None:
    rows = [{"text": "", "label": "a"}, {"text": " ", "label": "b"}] * 3
    with pytest.raises(InputError, match="nothing to count"):
        tfidf_baseline(rows, rows)


def test_mostly_empty_texts_are_no_error() -> None:
    rows = [{"text": "", "label": "a"}] * 5 + [{"text": "", "label": "b"}] * 5 + [{"text": "word", "label": "b"}]
    assert tfidf_baseline(rows, [{"text": "word"}, {"text": ""}]).labels[0] == "b"


def test_majority() -> None:
    prediction = majority(["a", "b", "b"], 2)
    assert prediction.labels == ["b", "b"]
    assert prediction.confidence == pytest.approx([2 / 3, 2 / 3])
    assert majority(Counter({"a": 22, "b": 3}), 1).confidence == [0.88]


@pytest.mark.parity
def test_the_shortened_rows_change_nothing_but_the_time() -> None:
    from scipy.sparse import random as sparse
    from sklearn.linear_model import LogisticRegression

    from tutelage.evaluation.classifiers import _in_row_space

    rows = sparse(60, 400, density=0.1, format="csr", rng=np.random.default_rng(0))
    target = np.arange(40) % 3
    fit, check = _in_row_space(rows[:40], rows[40:])
    assert fit.shape[1] <= 40
    short = LogisticRegression(C=3.0, tol=1e-8, max_iter=1000).fit(fit, target).predict_proba(check)
    full = LogisticRegression(C=3.0, tol=1e-8, max_iter=1000).fit(rows[:40], target).predict_proba(rows[40:])
    assert np.allclose(short, full, atol=1e-5)


@pytest.mark.parametrize("labels", [list(TOPICS), ["graphs", "text"], ["files"]])
def test_what_is_kept_classifies_alike(labels: list[str], tmp_path: Path) -> None:
    train, held = ([row for row in _labelled(seed, 200) if row["label"] in labels] for seed in (1, 2))
    found = tfidf_baseline(train, held)
    found.classifier.save(tmp_path)
    again = LexicalClassifier.load(tmp_path)
    assert again.classes == tuple(sorted(labels))
    assert np.array_equal(again.probabilities([row["text"] for row in held]), found.probabilities)
    assert again.classify(["directory of a node"])[0].keys() == set(labels)
    stored = sum(path.stat().st_size for path in tmp_path.iterdir()) / 1e6
    assert stored == pytest.approx(again.megabytes, abs=0.001)
    if len(labels) == 2:
        theirs = _fitted(_stacked_features(train), np.array([row["label"] for row in train]), found.strength)
        expected = theirs.predict_proba(_stacked_features(train, held))
        assert np.allclose(found.probabilities, expected, atol=1e-5)


def _stacked_features(train: list[dict[str, Any]], held: list[dict[str, Any]] | None = None) -> Any:
    kinds, matrix = _features([row["text"] for row in train], 100_000)
    if held is None:
        return matrix
    return _stacked([each.transform([row["text"] for row in held]) for each in kinds.values()])


def test_damaged_files_are_named(tmp_path: Path) -> None:
    train = _labelled(1, 60)
    tfidf_baseline(train, train[:1]).classifier.save(tmp_path)
    settings = json.loads((tmp_path / SETTINGS).read_text())
    settings["terms"]["words"].pop()
    (tmp_path / SETTINGS).write_text(json.dumps(settings))
    with pytest.raises(DamagedError, match="terms and weights differ"):
        LexicalClassifier.load(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"cut")
    with pytest.raises(DamagedError, match=str(tmp_path)):
        LexicalClassifier.load(tmp_path)


def test_rows_in_their_own_space_have_the_same_products() -> None:
    """Many features, few rows, some of them equal or empty, in float32 as TF-IDF has them."""
    from scipy.sparse import csr_matrix, random, vstack

    drawn = random(60, 3000, 0.02, "csr", dtype=np.float32, random_state=0)
    fit, check = vstack([drawn, drawn[:20], csr_matrix((2, 3000), dtype=np.float32)]).tocsr(), drawn[10:15]
    known, asked = _in_row_space(fit, check)
    assert known.shape == (82, 82)
    assert np.allclose(known @ known.T, (fit @ fit.T).toarray(), atol=1e-3)
    assert np.allclose(asked @ known.T, (check @ fit.T).toarray(), atol=1e-3)
    empty, _ = _in_row_space(csr_matrix((4, 6), dtype=np.float32), csr_matrix((2, 6), dtype=np.float32))
    assert np.isfinite(empty).all()
