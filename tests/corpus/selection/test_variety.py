"""Measures of variety: right on cases that can be worked out, and not fooled by the size of the text."""

from __future__ import annotations

import numpy as np
import pytest
from planted_text import TOPICS, good

from tutelage.corpus.selection.topics import effective_topics, find_topics
from tutelage.corpus.selection.variety import mean_interval, variety, vendi


def test_the_vendi_score_counts_unlike_things() -> None:
    three = np.eye(3)[[0, 0, 1, 1, 2, 2]]
    assert vendi(three) == pytest.approx(3)  # dual: d < n
    assert vendi(np.eye(5)) == pytest.approx(5)
    assert vendi(np.ones((4, 1))) == pytest.approx(1)
    rows = np.random.default_rng(1).normal(size=(12, 40))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(rows @ rows.T / 12)
    assert vendi(rows) == pytest.approx(float(np.exp(-(values * np.log(values)).sum())))
    assert vendi(np.concatenate([rows] * 5)) == pytest.approx(vendi(rows))


def test_repetition_shows_in_every_measure() -> None:
    varied = [text for topic in TOPICS for text in good(topic, 100, 1)]
    repeated = good("sea", 40, 1) * 10
    first, second = variety(varied), variety(repeated)
    for name in ("type_token", "distinct_2", "distinct_3", "word_entropy", "pair_entropy", "vendi"):
        assert first[name]["low"] > second[name]["high"], name
    assert first["compression"]["high"] < second["compression"]["low"]


def test_ten_times_the_text_of_the_same_kind_is_as_varied() -> None:
    small = [text for topic in TOPICS for text in good(topic, 50, 1)]
    large = [text for topic in TOPICS for text in good(topic, 150, 2)]
    first, second = variety(small), variety(large)
    for name in ("type_token", "distinct_2", "vendi"):
        assert first[name]["low"] < second[name]["high"] and second[name]["low"] < first[name]["high"], name


def test_too_little_text_has_no_figures() -> None:
    found = variety(["one sentence"])
    assert found["vendi"] == {"value": None, "low": None, "high": None}
    assert mean_interval([2.0])["low"] is None
    assert mean_interval([1.0, 2.0, 3.0])["value"] == 2.0


def test_topics_are_those_that_were_planted() -> None:
    texts = [text for topic in TOPICS for text in good(topic, 40, 1)]
    found = find_topics(texts, 4).of([text for topic in TOPICS for text in good(topic, 25, 2)])
    assert len(set(found.tolist())) == 4
    assert [len(set(found[at : at + 25].tolist())) for at in range(0, 100, 25)] == [1, 1, 1, 1]
    assert effective_topics(np.array([5.0, 5.0, 0.0])) == pytest.approx(2)
