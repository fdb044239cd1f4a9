"""Intervals, exact tests and verdicts in words. Pure numpy; every random draw comes from a stated seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CHUNK = 4_000_000  # random draws held in memory at once


@dataclass(frozen=True)
class Interval:
    """A value with the bounds of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """a minus b on the same `n` items, with interval and two-sided p-value."""

    value: float
    low: float
    high: float
    p: float
    n: int


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a share (Wilson 1927): keeps its coverage at small n and near 0 and 1."""
    if n <= 0:
        raise ValueError("an interval needs at least one item")
    z = _z(confidence)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and n the bound is exact in theory; rounding must not push it past the share itself.
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def bootstrap_mean(values: ArrayLike, *, confidence: float = 0.95, draws: int = 1000, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of a mean over independent items."""
    array = np.asarray(values, dtype=np.float64)
    return bootstrap_ratio(array, np.ones_like(array), confidence=confidence, draws=draws, seed=seed)


def bootstrap_ratio(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of sum(numerators) / sum(denominators), resampling whole items.

    An item is the cluster: bits per byte resamples documents, since the bytes inside one hang together.
    """
    top, bottom = _floats(numerators), _floats(denominators)
    ratios = np.concatenate(
        [top[index].sum(axis=1) / bottom[index].sum(axis=1) for index in _draws(len(top), draws, seed)]
    )
    low, high = _bounds(ratios, confidence)
    return Interval(float(top.sum() / bottom.sum()), low, high)


def bootstrap_statistic(
    statistic: Callable[[NDArray[np.int64]], float],
    n: int,
    *,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of any statistic of item indices (macro-F1, calibration error ...)."""
    values = [statistic(row) for index in _draws(n, draws, seed) for row in index]
    low, high = _bounds(np.asarray(values), confidence)
    return Interval(float(statistic(np.arange(n))), low, high)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Difference:
    """Paired bootstrap of (sum a - sum b) / sum weights over the same items; weights default to 1 each.

    The p-value is twice the smaller share of resamples on either side of zero, with one added to both counts
    (Davison & Hinkley 1997, section 4.2), so it is never 0.
    """
    first, second = _floats(a), _floats(b)
    if len(first) != len(second):
        raise ValueError(f"paired items differ in number: {len(first)} and {len(second)}")
    weight = np.ones_like(first) if weights is None else _floats(weights)
    delta = first - second
    drawn = np.concatenate(
        [delta[index].sum(axis=1) / weight[index].sum(axis=1) for index in _draws(len(delta), draws, seed)]
    )
    low, high = _bounds(drawn, confidence)
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (draws + 1))
    return Difference(float(delta.sum() / weight.sum()), low, high, p, len(delta))


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided p-value that wins and losses are equally likely; ties are left out by the caller."""
    n = wins + losses
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**n)))  # a fraction: 2**n outgrows a float at n = 1024


def mcnemar(right_a: ArrayLike, right_b: ArrayLike) -> float:
    """Exact McNemar p-value for two classifiers on the same items (boolean "was right" for each)."""
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    return sign_test(int((a & ~b).sum()), int((~a & b).sum()))


def detectable_difference(deviation: float, n: int, power: float = 0.8, confidence: float = 0.95) -> float:
    """Smallest true difference that n items with this standard deviation find with the given power."""
    return (_z(confidence) + NormalDist().inv_cdf(power)) * deviation / math.sqrt(n)


def verdict(
    a: str,
    b: str,
    difference: Difference,
    *,
    higher_is_better: bool = True,
    unit: str = "",
    confidence: float = 0.95,
    digits: int = 2,
) -> str:
    """One sentence: which is better, by how much, how sure; or that these items cannot tell."""
    suffix = f" {unit}" if unit else ""
    p = f"p = {difference.p:.3f}" if difference.p >= 0.001 else "p < 0.001"
    same_side = difference.low > 0 or difference.high < 0
    if difference.p >= 1 - confidence or not same_side:
        return (
            f"{a} and {b} are not distinguishable at n = {difference.n}: difference "
            f"{difference.value:+.{digits}f}{suffix} "
            f"[{difference.low:+.{digits}f}, {difference.high:+.{digits}f}], {p}"
        )
    a_is_better = (difference.value > 0) == higher_is_better
    better, worse = (a, b) if a_is_better else (b, a)
    low, high = sorted((abs(difference.low), abs(difference.high)))
    return (
        f"{better} is better than {worse} by {abs(difference.value):.{digits}f}{suffix} "
        f"[{low:.{digits}f}, {high:.{digits}f}], {p}, n = {difference.n}"
    )


def did_not_suffer(a: str, b: str, difference: Difference, margin: float, unit: str = "") -> str:
    """Non-inferiority in words: a lost no more than `margin` against b if the whole interval says so."""
    shown = f"{difference.value:+.2f} {unit} [{difference.low:+.2f}, {difference.high:+.2f}]"
    if difference.low > -margin:
        return f"{a} did not suffer against {b}: {shown}, the lower bound is above the margin of -{margin:g}"
    if difference.high < -margin:
        return f"{a} suffered against {b}: {shown}, all of it below the margin of -{margin:g}"
    if difference.high < 0:
        return f"{a} is worse than {b}: {shown}; whether by more than {margin:g} is open at n = {difference.n}"
    return f"whether {a} suffered against {b} is open at n = {difference.n}: {shown}, margin -{margin:g}"


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _floats(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError("statistics need a flat, non-empty list of numbers")
    return array


def _draws(n: int, draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Resampled item indices [draws, n], in pieces of bounded memory."""
    generator = np.random.default_rng(seed)
    rows = max(1, min(draws, _CHUNK // n))
    for start in range(0, draws, rows):
        yield generator.integers(0, n, size=(min(rows, draws - start), n))


def _bounds(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
