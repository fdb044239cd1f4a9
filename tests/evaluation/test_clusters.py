"""Packages of items as the units of intervals and tests."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.evaluation.clusters import (
    clustered_difference,
    design_effect,
    ratio_interval,
    share_interval,
    units,
    usable,
)
from tutelage.evaluation.statistics import paired_difference, wilson


def test_sums_are_those_of_packages_in_the_order_they_come() -> None:
    top, bottom = units(["b", "a", "b", None, ""], [1, 2, 3, 4, 5], [1, 1, 1, 1, 1])
    assert top.tolist() == [4, 2, 4, 5]
    assert bottom.tolist() == [2, 1, 1, 1]
    assert units(None, [1, 2])[0].tolist() == [1, 2]
    with pytest.raises(ValueError, match="every item"):
        units(["a"], [1, 2])


def test_packages_count_only_where_there_are_ten_of_them_and_fewer_than_items() -> None:
    ten = [str(at % 10) for at in range(20)]
    assert usable(ten) is ten
    assert usable([str(at % 9) for at in range(20)]) is None
    assert usable([str(at) for at in range(20)]) is None
    assert usable([None] * 20) is None
    assert usable(None) is None


def test_packages_of_one_item_change_nothing() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=20), generator.normal(size=20)
    names = [str(at) for at in range(20)]
    alone, packed = paired_difference(a, b), clustered_difference(a, b, names)
    assert (packed.value, packed.low, packed.high, packed.p) == pytest.approx(
        (alone.value, alone.low, alone.high, alone.p)
    )
    assert (packed.n, packed.clusters, packed.units) == (20, 20, 20)
    assert clustered_difference(a, b, None) == alone
    # A package holds the same item five times over: five times the items, the same interval.
    five = clustered_difference(np.repeat(a, 5), np.repeat(b, 5), np.repeat(names, 5).tolist())
    assert (five.value, five.low, five.high, five.p) == pytest.approx((alone.value, alone.low, alone.high, alone.p))
    assert (five.n, five.units) == (100, 20)


def test_a_share_in_packages_is_worth_fewer_items() -> None:
    right = np.repeat([1.0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 1, 0], 10)
    names = np.repeat([str(at) for at in range(12)], 10).tolist()
    packed, alone = share_interval(right, names), wilson(right.sum(), 120)
    few = wilson(7, 12)  # twelve answers in truth, and a little less for having to estimate that
    assert packed.value == alone.value
    assert packed.high - packed.low > 0.95 * (few.high - few.low)  # type: ignore[operator]
    assert packed.high - packed.low > 2.5 * (alone.high - alone.low)  # type: ignore[operator]
    assert share_interval(right) == alone
    every = share_interval(np.ones(120), names)
    assert every.high == 1.0
    assert every.low < 1.0  # type: ignore[operator]
    assert share_interval([1, 0, 1], ["a", "a", "a"]).low is None


def test_the_design_effect_says_how_much_narrower_items_would_be() -> None:
    generator = np.random.default_rng(1)
    names = np.repeat(np.arange(40), 9)
    same = generator.normal(size=40)[names]
    named = [str(one) for one in names]
    assert design_effect(same, named) == pytest.approx(3.0)  # nine of the same: the root of nine
    assert design_effect(np.ones(360), named) == 1.0
    wide = ratio_interval(same, np.ones(360), named)
    narrow = ratio_interval(same, np.ones(360), None)
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(3.0, rel=0.2)  # type: ignore[operator]
