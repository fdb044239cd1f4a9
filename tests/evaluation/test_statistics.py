"""Intervals and tests against known and simulated values."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluation.statistics import (
    Difference,
    Interval,
    bootstrap_mean,
    bootstrap_ratio,
    bootstrap_statistic,
    detectable_difference,
    items_needed,
    mcnemar,
    paired_difference,
    paired_statistic,
    sign_flip,
    sign_test,
    wilson,
)


def bounds(interval: Interval) -> tuple[float, float]:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low, interval.high


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
    if n == 1:
        assert interval == Interval(float(successes), None, None)
        return
    low, high = bounds(interval)
    assert 0 <= low <= interval.value <= high <= 1
    assert bounds(wilson(successes, n, 0.99))[1] >= high


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


@pytest.mark.parametrize("n", [2, 5, 10, 30])
def test_intervals_cover_the_truth_as_often_as_they_say(n: int) -> None:
    generator = np.random.default_rng(7)
    hits = 0
    for trial in range(1000):
        low, high = bounds(bootstrap_mean(generator.normal(3, 2, size=n), draws=600, seed=trial))
        hits += low <= 3 <= high
    assert 930 <= hits <= 970


def test_intervals_of_skewed_data_cover_nearly_as_often() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(400):
        low, high = bounds(bootstrap_mean(generator.exponential(1.0, size=80), draws=400, seed=trial))
        hits += low <= 1.0 <= high
    assert 368 <= hits <= 392


def test_one_item_has_no_interval() -> None:
    assert bootstrap_mean([3.0]) == Interval(3.0, None, None)
    assert bootstrap_ratio([6.0], [2.0]) == Interval(3.0, None, None)
    assert bootstrap_statistic(lambda index: float(len(index)), 9) == Interval(9.0, None, None)
    assert bootstrap_statistic(lambda index: float(len(index)), 10).low is not None
    difference = paired_difference([3.0], [1.0])
    assert difference == Difference(2.0, None, None, 1.0, 1)


def test_few_items_get_students_interval() -> None:
    # scipy.stats.ttest_1samp([1, 2, 4, 8, 5], 0).confidence_interval(0.95) and (0.9)
    assert bounds(bootstrap_mean([1.0, 2, 4, 8, 5])) == pytest.approx((0.5995630967, 7.4004369033))
    assert bounds(bootstrap_mean([1.0, 2, 4, 8, 5], confidence=0.9)) == pytest.approx((1.3890315819, 6.6109684181))


def test_a_ratio_weighs_documents_by_size() -> None:
    top, bottom = np.array([100.0, 1.0, 30.0]), np.array([100.0, 10.0, 50.0])
    interval = bootstrap_ratio(top, bottom)
    ratio = 131 / 160
    assert interval.value == pytest.approx(ratio)
    # The jackknife's error; scipy.stats.t.ppf(0.975, 160**2 / 12600 - 1), for the three are worth two of equal size
    without = np.array([31 / 60, 130 / 150, 101 / 110])
    error = np.sqrt(2 / 3 * ((without - ratio) ** 2).sum())
    assert bounds(interval) == pytest.approx((ratio - 11.81856 * error, ratio + 11.81856 * error), rel=1e-3)
    even = bounds(bootstrap_ratio([2.0, 4.0, 8.0, 16.0, 10.0], [2.0] * 5))
    assert even == pytest.approx(bounds(bootstrap_mean([1.0, 2, 4, 8, 5])))
    with pytest.raises(ValueError, match="above zero"):
        bootstrap_ratio([1.0, 2.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="one denominator"):
        bootstrap_ratio([1.0, 2.0], [1.0])


@pytest.mark.parity
def test_bca_is_scipys_but_for_the_widening() -> None:
    """With n = 400 the widened quantile differs by half a percent of the interval's width."""
    from scipy.stats import bootstrap

    values = np.random.default_rng(4).exponential(2.0, size=400)
    theirs = bootstrap((values,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng(1))
    ours = bounds(bootstrap_mean(values, draws=9999, seed=2))
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.015)
    # Skewed data: the upper side is the longer one, which a percentile interval does not see.
    assert ours[1] - values.mean() > (values.mean() - ours[0]) * 1.03


def test_the_interval_holds_its_value_even_where_resamples_are_all_on_one_side() -> None:
    interval = bootstrap_statistic(lambda index: float(len(set(index.tolist()))), 40, draws=200)
    low, high = bounds(interval)
    assert interval.value == 40
    assert low <= 40 <= high


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
    low, high = bounds(interval)
    assert low < 49.5 < high


def test_pairing_finds_what_the_noise_hides() -> None:
    generator = np.random.default_rng(2)
    hard = generator.normal(0, 10, size=200)
    a, b = hard + 0.5 + generator.normal(0, 0.5, 200), hard + generator.normal(0, 0.5, 200)
    difference = paired_difference(a, b, seed=1)
    assert difference.low is not None
    assert difference.low > 0
    assert difference.p < 0.01
    assert paired_difference(b, a, seed=1).value == pytest.approx(-difference.value)
    same = paired_difference(a, a)
    assert (same.value, same.p) == (0.0, 1.0)


def test_sign_flips_of_few_items_are_exact() -> None:
    # scipy.stats.permutation_test(..., permutation_type="samples", n_resamples=inf): 2 of 2^5; 6 of 2^4
    assert sign_flip([1.0, 2.0, 3.0, 4.0, 5.0]) == (2 / 32, False)
    assert sign_flip([1.0, 2.0, 3.0, -1.0]) == (6 / 16, False)
    assert sign_flip([2.0]) == (1.0, False)
    assert sign_flip(np.full(12, 0.1)) == (2 / 4096, False)
    # Items that are alike say nothing.
    assert sign_flip([0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, *[0.0] * 50]) == (2 / 32, False)
    assert sign_flip([0.0, 0.0]) == (1.0, False)


def test_sign_flips_of_many_items_are_never_sure() -> None:
    assert sign_flip(np.full(40, 1.0), draws=999) == (1 / 1000, True)
    p, at_floor = sign_flip(np.full(13, 1.0), draws=50_000, seed=3)
    assert not at_floor
    assert p == pytest.approx(2 / 2**13, rel=0.7)
    difference = paired_difference(np.full(40, 1.0), np.zeros(40), draws=999)
    assert (difference.p, difference.at_floor) == (0.001, True)


def test_sign_flips_of_many_items_agree_with_the_exact_test() -> None:
    delta = np.random.default_rng(5).normal(0.3, 1.0, size=12)
    exact, _ = sign_flip(delta)
    more = np.append(delta, 1e-12)  # a thirteenth that weighs nothing
    assert sign_flip(more, draws=20_000, seed=1)[0] == pytest.approx(exact, abs=0.01)
    assert sign_flip(more, draws=300, seed=1) == sign_flip(more, draws=300, seed=1)
    assert sign_flip(more, draws=300, seed=1) != sign_flip(more, draws=300, seed=2)


def test_sign_flips_are_the_same_when_memory_is_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from tutelage.evaluation import statistics

    delta = np.random.default_rng(5).normal(0.2, 1.0, size=40)
    whole = sign_flip(delta, draws=300, seed=5)
    monkeypatch.setattr(statistics, "_CHUNK", 500)
    assert sign_flip(delta, draws=300, seed=5) == whole


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20), st.integers(0, 3))
def test_a_p_value_is_above_zero_and_the_same_for_both_directions(values: list[float], seed: int) -> None:
    p, _ = sign_flip(values, draws=100, seed=seed)
    assert 0 < p <= 1
    assert sign_flip([-value for value in values], draws=100, seed=seed)[0] == p


def test_mcnemar_takes_halves() -> None:
    assert mcnemar([1, 1, 1, 1, 1, 1, 0.5], [0.5, 0, 0, 0, 0, 0, 0.5]) == pytest.approx(2 / 64)


def test_paired_statistic_agrees_with_the_paired_mean() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.normal(0.4, 1, 60), generator.normal(0, 1, 60)

    def gap(index: np.ndarray, swapped: np.ndarray) -> float:
        ours, theirs = a[index], b[index]
        return float(np.where(swapped, theirs, ours).mean() - np.where(swapped, ours, theirs).mean())

    ours, mean = paired_statistic(gap, 60, draws=4000, seed=1), paired_difference(a, b, draws=4000, seed=1)
    assert ours.value == pytest.approx(mean.value)
    assert (ours.low, ours.high) == pytest.approx((mean.low, mean.high))
    assert ours.deviation == pytest.approx(mean.deviation)
    assert mean.deviation == pytest.approx((a - b).std(ddof=1))
    assert ours.p == pytest.approx(mean.p, abs=0.01)
    assert ours.n == 60
    assert paired_statistic(gap, 60, draws=400, seed=1) == paired_statistic(gap, 60, draws=400, seed=1)
    narrow = paired_statistic(gap, 60, confidence=0.5, draws=400, seed=1)
    wide = paired_statistic(gap, 60, confidence=0.99, draws=400, seed=1)
    assert narrow.low is not None
    assert wide.low is not None
    assert narrow.low > wide.low
    nothing = paired_statistic(lambda index, swapped: 0.0, 20, draws=100)
    assert (nothing.p, nothing.at_floor) == (1.0, False)


def test_paired_statistic_of_few_items_is_exact() -> None:
    a = np.array([1.0, 2.0, 3.0, 4.0, 5.0])

    def gap(index: np.ndarray, swapped: np.ndarray) -> float:
        return float(np.where(swapped, -a[index], a[index]).mean())

    difference = paired_statistic(gap, 5)
    assert (difference.p, difference.low, difference.at_floor) == (2 / 32, None, False)
    assert paired_statistic(lambda index, swapped: 0.0, 1) == Difference(0.0, None, None, 1.0, 1)
    twelve = np.arange(1.0, 13.0)
    assert paired_statistic(lambda i, s: float(np.where(s, -twelve[i], twelve[i]).mean()), 12).p == 2 / 4096
    # One of two: the jackknife's values are 3 and 1, (n - 1) * sum of squares about their mean = 2
    assert paired_statistic(lambda i, s: float(np.array([1.0, 3.0])[i].mean()), 2).deviation == pytest.approx(2**0.5)
    big = np.ones(30)
    sure = paired_statistic(lambda i, s: float(np.where(s, -big[i], big[i]).mean()), 30, draws=199)
    assert (sure.p, sure.at_floor) == (1 / 200, True)


def test_items_needed_is_the_inverse_of_the_detectable_difference() -> None:
    assert items_needed(2.0, detectable_difference(2.0, 400)) == pytest.approx(400)
    assert items_needed(1.0, 0.0) == float("inf")
    assert items_needed(1.0, 0.5, power=0.9, confidence=0.99) == pytest.approx(59.5, abs=0.1)


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        bootstrap_mean([1.0, float("nan")])
    with pytest.raises(ValueError, match="finite"):
        paired_difference([1.0, float("inf")], [1.0, 2.0])


def test_paired_items_must_match() -> None:
    with pytest.raises(ValueError, match="differ in number"):
        paired_difference([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="non-empty"):
        bootstrap_mean([])


def test_detectable_difference_golden() -> None:
    # statsmodels TTestPower at large n: (1.959964 + 0.841621) / sqrt(n) standard deviations.
    assert detectable_difference(1.0, 100) == pytest.approx(0.2801585, abs=1e-6)
    assert detectable_difference(2.0, 400) == pytest.approx(0.2801585, abs=1e-6)


def test_bca_levels_are_efrons() -> None:
    """Resamples spread evenly over 0 to 1, so that a bound is its own level."""
    from scipy.stats import norm, t

    from tutelage.evaluation import statistics

    drawn = np.linspace(0, 1, 1001)
    without = np.array([0.5] * 18 + [0.1, 0.3])
    centred = without.mean() - without
    acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    assert acceleration > 0.1
    bias = norm.ppf((400 + 0.5) / 1001)
    reach = t.ppf(0.95, 19) * np.sqrt(20 / 19)
    expected = [norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))) for z in (-reach, reach)]
    assert statistics._bca(drawn, 0.4, without, 0.9) == pytest.approx(expected, abs=1e-9)
    # No spread at all: neither skew nor a division by zero.
    even = norm.cdf([bias * 2 - reach, bias * 2 + reach])
    assert statistics._bca(drawn, 0.4, np.full(20, 0.4), 0.9) == pytest.approx(even, abs=1e-9)
    # All resamples on one side count as all but one of them.
    far = norm.ppf(1 - 1 / 1002)
    assert statistics._bca(drawn, 2.0, np.full(20, 0.4), 0.9) == (pytest.approx(norm.cdf(2 * far - reach)), 2.0)


def test_resamples_are_whole_and_draw_every_item(monkeypatch: pytest.MonkeyPatch) -> None:
    from tutelage.evaluation import statistics

    for piece in (10, 4_000_000):
        monkeypatch.setattr(statistics, "_CHUNK", piece)
        drawn = list(statistics._draws(5, 301, seed=1))
        assert sum(map(len, drawn)) == 301
        counts = np.bincount(np.concatenate([part.ravel() for part in drawn]), minlength=5)
        assert len(counts) == 5
        assert (np.abs(counts - 301) < 70).all()  # 4.5 standard deviations
        flips = list(statistics._flips(5, 301, seed=1))
        assert sum(map(len, flips)) == 301
        assert (np.abs(np.concatenate(flips).sum(axis=0) - 150.5) < 40).all()


def test_weights_make_a_ratio_of_sums() -> None:
    a, b, bytes_ = np.array([8.0, 20.0, 30.0]), np.array([4.0, 10.0, 40.0]), np.array([10.0, 20.0, 50.0])
    difference = paired_difference(a, b, bytes_)
    assert difference.value == pytest.approx(4 / 80)
    assert difference.low == bootstrap_ratio(a - b, bytes_).low
    assert difference.deviation == pytest.approx(np.sqrt(((a - b - 4 / 80 * bytes_) ** 2).sum() / 2) * 3 / 80)


def test_differences_that_cancel_say_nothing() -> None:
    assert sign_flip([1.0, -1.0] * 10, draws=200) == (1.0, False)
    ours = np.array([1.0, -1.0] * 10)
    nothing = paired_statistic(lambda i, s: float(np.where(s, -ours[i], ours[i]).sum()), 20, draws=200)
    assert nothing.p == 1.0


def test_more_draws_give_another_interval() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap_mean(values, draws=200) != bootstrap_mean(values, draws=1000)
    assert bootstrap_mean(values) == bootstrap_mean(values, draws=1000, seed=0)
    assert bootstrap_ratio(values, np.ones(50)) == bootstrap_mean(values)
    assert paired_difference(values, -values) == paired_difference(values, -values, draws=1000, seed=0)


def test_a_ratio_is_resampled_like_any_statistic() -> None:
    generator = np.random.default_rng(8)
    bottom = generator.uniform(50, 150, size=40)  # even enough to be resampled
    top = bottom * generator.exponential(2, size=40)
    ratio = bootstrap_ratio(top, bottom, draws=500, seed=2)
    general = bootstrap_statistic(lambda i: float(top[i].sum() / bottom[i].sum()), 40, draws=500, seed=2)
    assert bounds(ratio) == pytest.approx(bounds(general))
    assert ratio.value == pytest.approx(general.value)
