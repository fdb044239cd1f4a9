"""The judge of quality: it finds what was planted, knows when it knows nothing, and its AUC is the AUC."""

from __future__ import annotations

import numpy as np
import pytest
from planted_text import TOPICS, good, junk
from sklearn.metrics import roc_auc_score

from tutelage.corpus.selection.area import area
from tutelage.corpus.selection.quality import roc, train_judge
from tutelage.store.errors import InputError


@pytest.fixture(scope="module")
def examples() -> list[str]:
    return [text for topic in TOPICS for text in good(topic, 50, 1)]


def test_planted_junk_is_told_from_good_text(examples: list[str]) -> None:
    rest = [text for topic in TOPICS for text in good(topic, 60, 2)] + junk(160, 2)
    judge, report = train_judge(examples, rest, seed=0)
    probabilities = judge.probabilities([*good("sea", 40, 3), *junk(40, 3)])
    assert probabilities[:40].min() > probabilities[40:].max()
    # 240 of the 400 are good themselves and rank as the examples do: a perfect judge has 0.4 + 0.6 / 2.
    assert report.auc.low < 0.7 < report.auc.high + 0.03
    assert report.calibration_error < 0.1


def test_where_nothing_tells_them_apart_the_area_is_a_half(examples: list[str]) -> None:
    rest = [text for topic in TOPICS for text in good(topic, 60, 2)]
    _, report = train_judge(examples, rest, seed=0)
    assert report.auc.low < 0.5 < report.auc.high


def test_examples_in_the_corpus_itself_are_not_taken_for_the_rest(examples: list[str]) -> None:
    _, report = train_judge(examples, [*examples, *junk(100, 2)], seed=0)
    assert report.rest == 100
    assert report.auc.value > 0.999


def test_what_length_alone_would_tell_is_said(examples: list[str]) -> None:
    rest = [text for topic in TOPICS for text in good(topic, 60, 2, (20, 30))]
    _, report = train_judge(examples, rest, seed=0)
    assert report.auc_by_length.value > 0.99


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(InputError, match="12 good examples are too few"):
        train_judge(good("sea", 12, 1), junk(100, 1), seed=0)
    with pytest.raises(InputError, match="corpus has 9 documents"):
        train_judge(good("sea", 60, 1), junk(9, 1), seed=0)


def test_the_area_is_that_of_scikit_learn_and_its_interval_covers() -> None:
    chance = np.random.default_rng(3)
    truth = np.arange(300) < 60
    covered = 0
    for _ in range(200):
        scores = np.round(chance.normal(size=300) + truth, 1)  # rounded: with ties
        found = area(scores[truth], scores[~truth])
        assert found.value == pytest.approx(roc_auc_score(truth, scores))
        covered += found.low <= 0.7602 <= found.high  # P(N(1, 1) > N(0, 1))
    assert 180 <= covered <= 199
    assert roc(truth * 1.0 + np.linspace(0, 0.5, 300), truth)[0.01] == 1.0
