"""The verdict of a paired difference: a machine-readable outcome and a sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tutelage.evaluation.statistics import Difference, items_needed

Outcome = Literal["better", "worse", "not resolved", "too few items"]
Claim = Literal["did not suffer", "suffered", "open", "too few items"]

MIN_ITEMS = 10
"""Minimum number of items for a winner."""
MIN_SHARE_ITEMS = 50
"""With fewer items an unresolved comparison of shares is "too few items", not "not resolved"."""
MIN_CLAIM_ITEMS = 50
"""Minimum number of items for non-inferiority: 50 equal items still allow 6 % to differ (rule of three)."""
_MANY = 100_000


@dataclass(frozen=True)
class Verdict:
    """`outcome` is a against b; `text` is a sentence with numbers."""

    outcome: Outcome
    text: str


@dataclass(frozen=True)
class NonInferiority:
    """The result of a non-inferiority test: whether a lost no more than a margin against b."""

    claim: Claim
    text: str


def verdict(
    a: str,
    b: str,
    difference: Difference,
    *,
    higher_is_better: bool = True,
    unit: str = "",
    confidence: float = 0.95,
    digits: int = 2,
    shares: bool = False,
) -> Verdict:
    """Which is better, by how much and with what confidence; or that these items do not resolve it.

    A winner requires `MIN_ITEMS`, a p-value below 1 - confidence and an interval on one side of zero. shares: the
    measure is a share of items (accuracy, win rate), for which fewer than 50 items rarely resolve.
    """
    n, counted = difference.n, _count(difference)
    shown = f"{difference.value:+.{digits}f}{_unit(unit)}{_bounds(difference, confidence, digits)}"
    resolved = difference.p < round(1 - confidence, 12) and _excludes_zero(difference)
    if difference.units < MIN_ITEMS or (shares and n < MIN_SHARE_ITEMS and not resolved):
        needed = _needed(difference, difference.value, confidence, MIN_ITEMS, shares)
        return Verdict(
            "too few items",
            f"too few items to compare {a} and {b}: {_items(difference)}, {needed} are needed; difference {shown}",
        )
    if not resolved:
        return Verdict(
            "not resolved",
            f"{a} and {b} are not distinguishable at n = {counted}: difference {shown}, {spoken_p(difference)}",
        )
    a_is_better = (difference.value > 0) == higher_is_better
    better, worse = (a, b) if a_is_better else (b, a)
    low, high = sorted((abs(difference.low or 0.0), abs(difference.high or 0.0)))
    return Verdict(
        "better" if a_is_better else "worse",
        f"{better} is better than {worse} by {abs(difference.value):.{digits}f}{_unit(unit)} "
        f"({percent(confidence)} interval {low:.{digits}f} to {high:.{digits}f}), {spoken_p(difference)}, "
        f"n = {counted}",
    )


def did_not_suffer(
    a: str, b: str, difference: Difference, margin: float, *, unit: str = "", confidence: float = 0.95
) -> NonInferiority:
    """Non-inferiority in a measure where higher is better: a lost no more than `margin` against b.

    Claimed only if the whole interval is above the margin and there are `MIN_CLAIM_ITEMS`.
    """
    n, low, high = _count(difference), difference.low, difference.high
    shown = f"{difference.value:+.2f}{_unit(unit)}{_bounds(difference, confidence, 2)}"
    if difference.units < MIN_CLAIM_ITEMS or low is None or high is None:
        needed = _needed(difference, margin, confidence, MIN_CLAIM_ITEMS)
        text = (
            f"too few items to say whether {a} suffered against {b}: {_items(difference)}, {needed} are needed; {shown}"
        )
        return NonInferiority("too few items", text)
    if low > -margin:
        text = f"{a} did not suffer against {b}: {shown}, the lower bound is above the margin of -{margin:g}, n = {n}"
        return NonInferiority("did not suffer", text)
    if high < -margin:
        text = f"{a} suffered against {b}: {shown}, the whole interval is below the margin of -{margin:g}, n = {n}"
        return NonInferiority("suffered", text)
    if high < 0:
        text = f"{a} is worse than {b}: {shown}; whether by more than {margin:g} is open at n = {n}"
        return NonInferiority("open", text)
    text = f"whether {a} suffered against {b} is open at n = {n}: {shown}, margin -{margin:g}"
    return NonInferiority("open", text)


def percent(confidence: float) -> str:
    """0.95 -> "95 %"."""
    return f"{100 * confidence:g} %"


def spoken_p(difference: Difference) -> str:
    """The p-value as text; at the resampling floor it is a bound, not an equality."""
    if difference.at_floor:
        return f"p <= {difference.p:.1g}"
    return f"p = {difference.p:.3f}" if difference.p >= 0.001 else "p < 0.001"


def _excludes_zero(difference: Difference) -> bool:
    if difference.low is None or difference.high is None:
        return False
    return difference.low > 0 or difference.high < 0


def _bounds(difference: Difference, confidence: float, digits: int) -> str:
    if difference.low is None or difference.high is None:
        return ""
    return f" ({percent(confidence)} interval {difference.low:+.{digits}f} to {difference.high:+.{digits}f})"


def _needed(difference: Difference, size: float, confidence: float, least: int, shares: bool = False) -> str:
    """Approximate number of items that detect a true difference of `size` with 80 % power."""
    if shares:
        return "about 50 to 100"
    what = "" if difference.clusters is None else " clusters"
    if not difference.deviation:
        return f"at least {least}{what}"
    count = max(least, items_needed(difference.deviation, size, confidence=confidence))
    if count > _MANY:
        return f"more than {_MANY:,}{what}"
    step = 10 ** max(0, math.floor(math.log10(count)) - 1)  # two figures
    return f"about {math.ceil(count / step) * step:,}{what}"


def _items(difference: Difference) -> str:
    if difference.clusters is not None:
        return f"{difference.n} in {difference.clusters} clusters"
    return "1 item" if difference.n == 1 else f"{difference.n} items"


def _count(difference: Difference) -> str:
    return f"{difference.n}" if difference.clusters is None else f"{difference.n} in {difference.clusters} clusters"


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""
