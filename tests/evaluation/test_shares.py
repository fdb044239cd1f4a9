"""Paired shares: the exact test and the interval of Bonett & Price."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tutelage.evaluation.shares import paired_shares
from tutelage.evaluation.statistics import Difference, mcnemar, paired_difference


def flags(both: int, first: int, second: int, none: int) -> tuple[list[bool], list[bool]]:
    a = [True] * (both + first) + [False] * (second + none)
    b = [True] * both + [False] * first + [True] * second + [False] * none
    return a, b


def test_the_interval_by_hand() -> None:
    a, b = flags(40, 20, 8, 32)
    found, test = paired_shares(a, b)
    assert (found.value, found.p, test) == (pytest.approx(12.0), mcnemar(a, b), "exact McNemar test")
    more, less = 21 / 102, 9 / 102  # Bonett & Price 2012, equation 3
    half = 1.959964 * math.sqrt((more + less - (more - less) ** 2) / 102)
    assert (found.low, found.high) == pytest.approx((100 * (12 / 102 - half), 100 * (12 / 102 + half)), rel=1e-6)
    back, _ = paired_shares(b, a)
    assert (back.value, back.low, back.high) == pytest.approx((-12.0, -found.high, -found.low))  # type: ignore[operator]
    assert found.deviation == pytest.approx(paired_difference(np.array(a) * 100.0, np.array(b) * 100.0).deviation)


def test_where_nothing_differs_it_still_has_a_width() -> None:
    same, _ = paired_shares(*flags(50, 0, 0, 50))
    assert (same.value, same.p) == (0.0, 1.0)
    assert same.low == -same.high == pytest.approx(-100 * 1.959964 * math.sqrt(2 / 102 / 102), rel=1e-6)  # type: ignore[operator]
    every, _ = paired_shares(*flags(0, 50, 0, 0))
    assert every.value == every.high == 100.0
    assert 88 < every.low < 95  # type: ignore[operator]
    assert paired_shares([True], [False])[0] == Difference(100.0, None, None, 1.0, 1)


def test_halves_of_one_size_are_counted_and_of_two_are_flipped() -> None:
    halves, test = paired_shares([0.5] * 30, [0.0] * 10 + [0.5] * 20)
    assert test == "exact McNemar test"
    assert halves.value == pytest.approx(100 / 6)
    whole, _ = paired_shares([1.0] * 30, [0.0] * 10 + [1.0] * 20)
    assert (halves.low, halves.high) == pytest.approx((whole.low / 2, whole.high / 2))  # type: ignore[operator]
    _, test = paired_shares([1.0, 1.0, 0.5] * 5, [0.5, 0.0, 0.5] * 5)
    assert test == "sign-flip test"


def test_it_covers_the_truth_where_few_items_differ() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(800):
        kind = generator.random(60)
        found, _ = paired_shares(kind < 0.08, (kind >= 0.08) & (kind < 0.10))  # 8 % against 2 %
        hits += found.low <= 6.0 <= found.high  # type: ignore[operator]
    assert 744 <= hits <= 792
