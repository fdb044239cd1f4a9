"""Metrics against hand-counted and published values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluation.metrics import (
    accuracy,
    bits_per_byte,
    calibration_error,
    chrf,
    distinct_n,
    macro_f1,
    most_common,
    repetition,
    rouge_l,
    weighted_kappa,
    words,
)


def test_bits_per_byte_counts_utf8_bytes() -> None:
    assert bits_per_byte([-math.log(2) * 8, -math.log(2) * 4], ["éé", "ab"]) == pytest.approx(12 / 6)


def test_rouge_l_golden() -> None:
    # Lin 2004, section 3: LCS of S1 with S2 is 3 of 4 words, with S3 2 of 4.
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(75.0)
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(50.0)
    # rouge_score 0.1.2 rougeL fmeasure
    assert rouge_l("The quick brown fox jumps over the lazy dog", "the quick brown dog jumped over the logs") == (
        pytest.approx(100 * 0.5882352941176471)
    )
    assert rouge_l("", "words") == 0.0


@given(st.text(), st.text())
def test_rouge_l_is_symmetric_and_bounded(a: str, b: str) -> None:
    assert rouge_l(a, b) == pytest.approx(rouge_l(b, a))
    assert 0 <= rouge_l(a, b) <= 100


def test_chrf_extremes_and_order() -> None:
    same, near, far, empty = chrf(
        ["Return the shortest path.", "Return the short path.", "xyz", ""], ["Return the shortest path."] * 4
    )
    assert same == pytest.approx(100.0)
    assert 60 < near < 100
    assert far < 5
    assert empty == 0.0


def test_words_are_lower_cased_and_pairs_must_match() -> None:
    assert words("Straße, foo_1!") == ["straße", "foo_1"]
    with pytest.raises(ValueError, match="zip"):
        chrf(["a", "b"], ["a"])


def test_distinct_and_repetition() -> None:
    assert distinct_n(["a b a b"], 2) == pytest.approx(2 / 3)
    assert distinct_n(["a b c a b d"]) == pytest.approx(4 / 5)
    assert distinct_n(["one"], 2) == 0.0
    assert repetition("") == repetition("two words") == 0.0
    assert repetition("the cat sat on the mat") == 0.0
    assert repetition("a b c a b c a b c") == pytest.approx(4 / 7)


def test_macro_f1_golden() -> None:
    # sklearn.metrics.f1_score([0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 0, 1], average="macro") of its documentation
    assert macro_f1([0, 2, 1, 0, 0, 1], [0, 1, 2, 0, 1, 2], 3) == pytest.approx(0.26666666666666666)
    # A class nobody uses does not count.
    assert macro_f1([0, 1], [0, 1], 5) == 1.0
    assert accuracy(["a", "b", "a"], ["a", "a", "a"]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="zip"):
        accuracy(["a", "b"], ["a"])


def test_macro_f1_is_over_the_classes_of_the_truth() -> None:
    # Class 2 is only predicted: no term of the mean, but class 1 misses a hit. (1 + 2/3) / 2
    assert macro_f1([0, 0, 1, 2], [0, 0, 1, 1], 3) == pytest.approx(5 / 6)
    # Weights count items as if they stood there so often.
    doubled = macro_f1([0, 1, 1, 1], [0, 0, 0, 1], 2)
    assert macro_f1([0, 1, 1], [0, 0, 1], 2, [1.0, 2.0, 1.0]) == pytest.approx(doubled)


@pytest.mark.parity
def test_macro_f1_is_scikit_learns_over_those_classes() -> None:
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(3)
    truth, guess, weight = generator.integers(0, 4, 80), generator.integers(0, 6, 80), generator.random(80)
    theirs = f1_score(truth, guess, labels=sorted(set(truth.tolist())), average="macro", sample_weight=weight)
    assert macro_f1(guess, truth, 6, weight) == pytest.approx(theirs)


def test_equal_confidences_share_a_bin() -> None:
    right = np.arange(300) % 100 < 22
    assert calibration_error([0.22] * 300, np.sort(right)) == pytest.approx(0.0, abs=1e-9)
    assert calibration_error([0.5] * 30 + [0.9] * 30, [True, False] * 15 + [True] * 27 + [False] * 3) == (
        pytest.approx(0.0, abs=1e-9)
    )


def test_few_items_have_few_bins() -> None:
    # One item in each bin would make it the mean |confidence - right|, 0.42.
    assert calibration_error([0.7 + i / 1000 for i in range(10)], [True] * 7 + [False] * 3) == pytest.approx(0.0045)
    for n, bins in ((39, 1), (40, 2), (140, 7), (299, 14), (400, 15), (4000, 15)):
        spaced, hits = np.linspace(0.1, 0.9, n), np.random.default_rng(n).random(n) < 0.5
        assert calibration_error(spaced, hits) == pytest.approx(calibration_error(spaced, hits, bins=bins)), n
        assert calibration_error(spaced, hits) != pytest.approx(calibration_error(spaced, hits, bins=bins + 1)), n
    sure = [0.1, 0.2, 0.3, 0.4]
    assert calibration_error(sure, [True, False, False, True], bins=99) == pytest.approx((0.9 + 0.2 + 0.3 + 0.6) / 4)
    assert calibration_error([0.2, 0.8], [True, True], bins=2, weights=[3.0, 1.0]) == pytest.approx(2.6 / 4)


def test_calibration_error() -> None:
    assert calibration_error([1.0] * 10, [True] * 10) == 0.0
    assert calibration_error([0.9] * 10, [False] * 10) == pytest.approx(0.9)
    assert calibration_error([0.2, 0.2, 0.8, 0.8], [False, False, True, True], bins=2) == pytest.approx(0.2)
    generator = np.random.default_rng(0)
    sure = generator.uniform(0.2, 1.0, 20_000)
    assert calibration_error(sure, generator.uniform(size=20_000) < sure) < 0.02


def test_most_common_breaks_ties_by_name() -> None:
    assert most_common(["b", "a", "b", "a"]) == "a"
    assert most_common(["b", "a", "b"]) == "b"
    assert most_common({"b": 4, "a": 3, "c": 4}) == "b"


def test_weighted_kappa_is_sklearns_and_counts_weights():
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 200)
    guess = np.clip(truth + rng.integers(-1, 3, 200), 0, 4)
    weights = rng.uniform(0.5, 2, 200)
    for weight in (None, weights):
        theirs = cohen_kappa_score(truth, guess, weights="quadratic", sample_weight=weight)
        assert weighted_kappa(guess, truth, 5, weight) == pytest.approx(theirs)
    assert weighted_kappa(truth, truth, 5) == 1 and weighted_kappa([2] * 200, truth, 5) == pytest.approx(0)
    assert weighted_kappa([1, 1], [1, 1], 3) == 1
