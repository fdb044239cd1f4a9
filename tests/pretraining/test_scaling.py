"""A law that was planted is found again, its ranges hold what they say, and repeated text counts less."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tutelage.pretraining.scaling import REPEAT, Law, Point, draws, effective_data, fit, predict

PLANTED = Law(0.7, (1e6, 1e7), (0.5, 0.4), (0.34, 0.28))
LADDER = [(size, seen) for size in (1e5, 3e5, 1e6, 3e6) for seen in (1e6, 4e6, 1.6e7)]


def runs(noise: float = 0.0, seed: int = 0) -> list[Point]:
    chance = np.random.default_rng(seed)
    return [Point(sizes, PLANTED.loss(*sizes) * math.exp(noise * chance.standard_normal())) for sizes in LADDER]


def test_a_planted_law_is_found_where_the_runs_lie_and_one_step_beyond() -> None:
    law = fit(runs())
    for sizes in (*LADDER, (1e7, 6e7)):
        assert law.loss(*sizes) == pytest.approx(PLANTED.loss(*sizes), rel=0.02)
    assert all(0.1 < one < 0.6 for one in law.exponents)


def test_the_range_of_a_prediction_holds_the_largest_run_as_often_as_it_says() -> None:
    held = 0
    for seed in range(10):
        *others, largest = runs(0.01, seed)
        law = fit(others)
        told = predict(law, draws(law, others, 25), largest.sizes)
        held += told.holds(largest.loss)
        assert told.low < told.middle < told.high < 1.5 * told.low
    assert held >= 7  # of 10 at 90 %: 9 on average


def test_further_from_the_runs_the_range_is_wider() -> None:
    points = runs(0.01)
    law = fit(points)
    drawn = draws(law, points)

    def width(*sizes: float) -> float:
        told = predict(law, drawn, sizes)
        return (told.high - told.low) / told.middle

    assert width(1e6, 4e6) < width(3e7, 3e8) < width(1e9, 1e10)


def test_one_run_that_went_wrong_does_not_carry_the_law_away() -> None:
    good = runs(0.002)
    bad = [*good[:5], Point(good[5].sizes, 2 * good[5].loss), *good[6:]]
    assert fit(bad).loss(1e6, 4e6) == pytest.approx(fit(good).loss(1e6, 4e6), rel=0.05)


def test_a_law_of_compute_alone_and_its_refusals() -> None:
    points = [Point((10.0**power,), 0.8 + 0.6 * 10 ** (-0.1 * (power - 12))) for power in (12, 13, 14, 15)]
    assert fit(points).loss(1e16) == pytest.approx(0.8 + 0.6 * 10**-0.4, rel=0.05)
    for wrong in (points[:2], [*points, Point((1.0, 2.0), 1.0)]):
        with pytest.raises(ValueError, match="three runs or more"):
            fit(wrong)


def test_draws_are_the_same_each_time() -> None:
    points = runs(0.01)
    law = fit(points)
    assert draws(law, points, 3) == draws(law, points, 3) != draws(law, points, 3, seed=1)


def test_repeated_text_counts_less_and_less() -> None:
    """Golden: Muennighoff et al. 2023, equation 5; four passes are worth nearly four, forty hardly more than eleven."""
    assert effective_data(100.0, 60.0) == 60.0 and effective_data(100.0, 100.0) == 100.0
    assert effective_data(100.0, 400.0) == pytest.approx(100 + 100 * REPEAT * (1 - math.exp(-3 / REPEAT)))
    assert 3.6 < effective_data(1.0, 4.0) < 4 and effective_data(1.0, 1e6) == pytest.approx(1 + REPEAT)
