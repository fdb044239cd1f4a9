"""Intervals and tests against known values; verdicts in words."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluation.statistics import (
    Difference,
    bootstrap_mean,
    bootstrap_ratio,
    bootstrap_statistic,
    detectable_difference,
    did_not_suffer,
    mcnemar,
    paired_difference,
    sign_test,
    verdict,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
        (0, 10, 0.0, 0.2775327998628892),
        (5, 10, 0.23659309051256394, 0.763406909487436),
        (81, 263, 0.2552892, 0.3662108),  # Newcombe 1998, table I: .2553, .3662
        (15, 148, 0.0624, 0.1605),  # the same table
        (29, 29, 0.8830, 1.0),  # the same table, mirrored 0/29
    ],
)
def test_wilson_golden(successes: int, n: int, low: float, high: float) -> None:
    interval = wilson(successes, n)
    assert interval.low == pytest.approx(low, abs=6e-5)
    assert interval.high == pytest.approx(high, abs=6e-5)
    assert interval.value == successes / n


@given(n=st.integers(1, 500), data=st.data())
def test_wilson_holds_the_share_and_stays_in_bounds(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    interval = wilson(successes, n)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert wilson(successes, n, 0.99).high >= interval.high


def test_wilson_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="at least one"):
        wilson(0, 0)


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [  # scipy.stats.binomtest(wins, wins + losses).pvalue
        (0, 0, 1.0),
        (5, 5, 1.0),
        (9, 1, 0.021484375),
        (10, 0, 0.001953125),
        (2, 12, 0.012939453125),
        (60, 40, 0.05688793364098078),
    ],
)
def test_sign_test_golden(wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(p, rel=1e-12)
    assert sign_test(losses, wins) == pytest.approx(p, rel=1e-12)


def test_sign_test_beyond_the_floats() -> None:
    assert sign_test(1500, 1500) == 1.0
    # The normal approximation with continuity correction is close at n = 3000.
    z = (abs(1420 - 1580) - 1) / np.sqrt(3000)
    assert sign_test(1420, 1580) == pytest.approx(2 * (1 - NormalDist().cdf(z)), rel=0.01)


def test_mcnemar_counts_only_disagreement() -> None:
    a = [True] * 9 + [False] + [True] * 50 + [False] * 40
    b = [False] * 9 + [True] + [True] * 50 + [False] * 40
    assert mcnemar(a, b) == pytest.approx(0.021484375)


def test_bootstrap_mean_is_near_the_normal_interval_and_deterministic() -> None:
    values = np.random.default_rng(1).normal(10, 2, size=400)
    interval = bootstrap_mean(values, draws=4000, seed=3)
    half = 1.96 * values.std() / np.sqrt(400)
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.02)
    assert interval == bootstrap_mean(values, draws=4000, seed=3)
    assert interval != bootstrap_mean(values, draws=4000, seed=4)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        interval = bootstrap_mean(generator.exponential(1.0, size=80), draws=400, seed=trial)
        hits += interval.low <= 1.0 <= interval.high
    assert 176 <= hits <= 199


def test_ratio_weighs_documents_by_size() -> None:
    interval = bootstrap_ratio([100.0, 1.0], [100.0, 10.0], draws=200)
    assert interval.value == pytest.approx(101 / 110)
    assert interval.low == pytest.approx(0.1)
    assert interval.high == pytest.approx(1.0)


def test_ratio_resamples_the_same_when_memory_is_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from tutelage.evaluation import statistics

    top, bottom = np.arange(1.0, 50.0), np.arange(2.0, 51.0)
    whole = bootstrap_ratio(top, bottom, draws=300, seed=5)
    monkeypatch.setattr(statistics, "_CHUNK", 500)
    assert bootstrap_ratio(top, bottom, draws=300, seed=5) == whole


def test_bootstrap_of_any_statistic() -> None:
    values = np.arange(100.0)
    interval = bootstrap_statistic(lambda index: float(np.median(values[index])), 100, draws=500, seed=1)
    assert interval.value == 49.5
    assert interval.low < 49.5 < interval.high


def test_pairing_finds_what_the_noise_hides() -> None:
    generator = np.random.default_rng(2)
    hard = generator.normal(0, 10, size=200)
    a, b = hard + 0.5 + generator.normal(0, 0.5, 200), hard + generator.normal(0, 0.5, 200)
    difference = paired_difference(a, b, seed=1)
    assert difference.low > 0
    assert difference.p < 0.01
    assert paired_difference(b, a, seed=1).value == pytest.approx(-difference.value)
    same = paired_difference(a, a)
    assert (same.value, same.p) == (0.0, 1.0)


def test_paired_items_must_match() -> None:
    with pytest.raises(ValueError, match="differ in number"):
        paired_difference([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="non-empty"):
        bootstrap_mean([])


def test_detectable_difference_golden() -> None:
    # statsmodels TTestPower at large n: (1.959964 + 0.841621) / sqrt(n) standard deviations.
    assert detectable_difference(1.0, 100) == pytest.approx(0.2801585, abs=1e-6)
    assert detectable_difference(2.0, 400) == pytest.approx(0.2801585, abs=1e-6)


def test_verdict_names_the_better_one_whatever_the_direction() -> None:
    lower = Difference(-0.30, -0.40, -0.20, 0.002, 50)
    text = verdict("A", "B", lower, higher_is_better=False, unit="bits per byte")
    assert text == "A is better than B by 0.30 bits per byte [0.20, 0.40], p = 0.002, n = 50"
    assert verdict("A", "B", lower).startswith("B is better than A by 0.30")
    open_question = Difference(0.1, -0.2, 0.4, 0.6, 50)
    assert "not distinguishable at n = 50" in verdict("A", "B", open_question)
    tiny = Difference(1.0, 0.9, 1.1, 1e-5, 50)
    assert "p < 0.001" in verdict("A", "B", tiny)


def test_an_interval_and_a_test_that_disagree_give_no_winner() -> None:
    assert "not distinguishable" in verdict("A", "B", Difference(0.1, 0.01, 0.2, 0.06, 50))


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(-0.5, 2.0, "did not suffer"), (-3.0, -1.5, "suffered"), (-3.0, -0.2, "is worse"), (-3.0, 1.0, "is open")],
)
def test_did_not_suffer(low: float, high: float, word: str) -> None:
    text = did_not_suffer("prefer", "instruct", Difference((low + high) / 2, low, high, 0.5, 10), 1.0, "chrF")
    assert word in text
    assert ("did not suffer" in text) == (low > -1.0)
