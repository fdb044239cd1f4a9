"""The statistics of the bench, against hand computation, scipy and simulation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tutelage.ablation.judge import (
    Look,
    Scores,
    Spread,
    detectable,
    judged,
    noise_of,
    paired,
    scores_of,
    seeds_needed,
    shares,
    spread,
)
from tutelage.ablation.selftest import Known, self_test, simulated_noise

SIZES = np.random.default_rng(5).lognormal(0, 0.5, 60) * 300


def runs(mean: float, seed_noise: float = 0.0, seeds: int = 3, draw: int = 0) -> Scores:
    chance = np.random.default_rng([17, draw])
    rates = mean + chance.normal(0, seed_noise, (seeds, 1)) + chance.normal(0, 0.01, (seeds, len(SIZES)))
    return Scores(rates * SIZES, SIZES)


def test_the_shares_of_the_looks_add_up_to_one_and_the_last_is_the_largest() -> None:
    for seeds in (2, 3, 5, 10):
        share = shares(seeds)
        assert list(share) == list(range(2, seeds + 1)) and math.isclose(sum(share.values()), 1.0)
        assert max(share.values()) == share[seeds]


def test_a_spread_by_hand() -> None:
    first = Scores(np.array([[2.0, 4.0], [2.0, 4.0]]), np.array([1.0, 3.0]))
    arm = Scores(np.array([[3.0, 4.0], [5.0, 4.0]]), np.array([1.0, 3.0]))
    found = spread(arm, first)
    # Per seed (1 + 0) / 4 and (3 + 0) / 4; item residuals 2 - 0.5 and 0 - 1.5.
    assert found.value == pytest.approx(0.5) and found.seed_variance == pytest.approx(0.125 / 2)
    assert found.item_variance == pytest.approx(2 * (1.5**2 + 1.5**2) / 16)


def test_without_differences_between_items_it_is_the_paired_t_test_of_the_seeds() -> None:
    per_seed = np.array([0.02, 0.05, 0.03])
    found = Spread(float(per_seed.mean()), 3, 50, float(per_seed.var(ddof=1)) / 3, 0.0)
    assert found.p() == pytest.approx(stats.ttest_1samp(per_seed, 0.0).pvalue, rel=1e-6)
    assert Look(found, 0.5).p == pytest.approx(2 * found.p())


def test_the_interval_reaches_zero_exactly_at_p() -> None:
    found = Spread(0.02, 3, 40, 1e-5, 2e-5)
    assert found.half_width(found.p()) == pytest.approx(0.02, rel=1e-6)


def test_equal_arms_are_not_distinguishable_and_settled() -> None:
    first = runs(1.0, 0.002)
    one = paired(first, first, 5, 0.01)
    assert (one.outcome, one.settled, one.p) == ("not distinguishable", "not distinguishable", 1.0)


def test_a_large_difference_is_settled_and_has_a_direction() -> None:
    first = runs(1.0, 0.002)
    assert paired(runs(0.9, 0.002, draw=1), first, 3, 0.01).settled == "better"
    assert paired(runs(1.1, 0.002, draw=1), first, 3, 0.01).settled == "worse"


def test_one_seed_or_much_noise_is_too_little() -> None:
    first = runs(1.0, 0.002)
    assert paired(runs(0.5, seeds=1), first.of(1), 3, 0.01).outcome == "too few seeds"
    noisy = paired(runs(0.99, 0.05, draw=2), runs(1.0, 0.05, draw=3), 3, 0.01)
    assert noisy.outcome == "too few seeds" and noisy.detectable > 0.01


def test_only_seeds_that_both_have_are_compared() -> None:
    first, arm = runs(1.0, 0.002), runs(0.9, 0.002, draw=1)
    assert paired(arm, first.of(2), 3, 0.01) == paired(arm.of(2), first.of(2), 3, 0.01)


def test_below_ten_items_there_is_no_verdict() -> None:
    first = Scores(np.ones((3, 9)), np.ones(9))
    assert paired(Scores(np.full((3, 9), 0.5), np.ones(9)), first, 3, 0.01).outcome == "too few items"
    alone = paired(Scores(np.full((3, 1), 0.5), np.ones(1)), Scores(np.ones((3, 1)), np.ones(1)), 3, 0.01)
    assert (alone.outcome, alone.low, alone.p, alone.detectable) == ("too few items", None, 1.0, math.inf)


def test_a_correction_takes_a_verdict_back() -> None:
    one = paired(runs(0.95, 0.004, draw=4), runs(1.0, 0.004, draw=5), 3, 0.01)
    assert one.outcome == "better"
    assert judged(one, 0.2, 0.01, 60).outcome in ("too few seeds", "not distinguishable")
    assert judged(replace(one, low=-0.001, high=0.001), 0.2, 0.01, 60).settled == "not distinguishable"


def test_the_noise_floor_is_that_of_the_runs() -> None:
    first = runs(2.0, 0.01, seeds=40)
    noise = noise_of(first)
    assert noise.deviation == pytest.approx(0.01, rel=0.3) and noise.mean == pytest.approx(2.0, abs=0.01)
    assert noise.single == pytest.approx(stats.t.ppf(0.975, 39) * math.sqrt(2) * noise.deviation)
    # Of a difference of two runs: each document has a deviation of 0.01 in each of them.
    assert noise.item_variance == pytest.approx(2 * 0.01**2 * (SIZES**2).sum() / SIZES.sum() ** 2, rel=0.2)


def test_more_noise_needs_more_seeds_and_a_correction_too() -> None:
    noise = simulated_noise(Known(0.003, 0.01))
    few, more = seeds_needed(0.001, noise, 0.01), seeds_needed(0.004, noise, 0.01)
    assert few and more and few < more
    corrected = seeds_needed(0.004, noise, 0.01, tried=10)
    assert corrected and corrected > more
    assert seeds_needed(0.5, noise, 0.01) is None


def test_what_is_detectable_is_found_four_times_in_five() -> None:
    one = Spread(0.0, 4, 10_000, 1.0, 0.0)
    size = detectable(one)
    chance = np.random.default_rng(2)
    draws = chance.normal(size, 2.0, (4000, 4))  # a deviation of 2: the mean of four has a variance of 1
    assert (stats.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.025)


def test_packages_are_summed_where_they_are_the_units() -> None:
    found = scores_of([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]], [10, 20, 30], ["a", "b", "a"])
    assert found.bits.tolist() == [[4.0, 2.0], [4.0, 2.0]] and found.bytes.tolist() == [40.0, 20.0]


@pytest.mark.parametrize("known", [Known(), Known(0.004, 0.0005), Known(0.004, 0.02)])
def test_the_self_test_passes_at_several_kinds_of_noise(known: Known) -> None:
    checks = list(self_test(known, seeds=3, pairs=40))
    assert [check.passed for check in checks] == [True, True, True], [check.text for check in checks]


def test_the_self_test_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    import tutelage.ablation.judge as judge

    monkeypatch.setattr(judge, "_t", lambda level, degrees: 0.5)  # intervals far too short
    assert not next(iter(self_test(Known(), seeds=3, pairs=60))).passed
