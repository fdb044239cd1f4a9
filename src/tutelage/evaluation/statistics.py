"""Confidence intervals and exact tests. Pure functions of plain numbers; every random draw is seeded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[NDArray[np.int64]], float]
PairedStatistic = Callable[[NDArray[np.int64], NDArray[np.bool_]], float]

_CHUNK = 4_000_000  # random draws held in memory at once
_EXACT = 12  # up to this many items all 2^n sign flips are enumerated
_SMALL = 30  # below, a mean gets Student's interval: the bootstrap undercovers for small samples
_EVEN = 0.8  # effective share of n with uneven weights; below, the bootstrap is too narrow
_FEWEST = 10  # below, a statistic that is not a mean gets no interval


@dataclass(frozen=True)
class Interval:
    """A value with the bounds of its confidence interval, None if there are too few items."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """a minus b on the same `n` items, with interval and two-sided p-value.

    deviation: standard deviation of one unit's contribution to the difference, in the same unit; None for one item.
    at_floor: no random draw was as extreme, so p is an upper bound, 1 / (draws + 1). clusters: number of clusters that
    were the units (`clusters.py`); None: the items themselves.
    """

    value: float
    low: float | None
    high: float | None
    p: float
    n: int
    deviation: float | None = None
    at_floor: bool = False
    clusters: int | None = None

    @property
    def units(self) -> int:
        return self.n if self.clusters is None else self.clusters


def wilson(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a share (Wilson 1927): keeps its coverage at small n and near 0 and 1."""
    if n <= 0:
        raise ValueError("an interval needs at least one item")
    z = _z(confidence)
    share = successes / n
    if n == 1:
        return Interval(share, None, None)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and n the bound is exact in theory; rounding must not push it past the share itself.
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def bootstrap_mean(values: ArrayLike, *, confidence: float = 0.95, draws: int = 1000, seed: int = 0) -> Interval:
    """Interval of a mean over independent items; see `bootstrap_ratio`."""
    array = _floats(values)
    return bootstrap_ratio(array, np.ones_like(array), confidence=confidence, draws=draws, seed=seed)


def bootstrap_ratio(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Interval of sum(numerators) / sum(denominators), resampling items; bounds are None for one item.

    Bits per byte resamples documents, because the bytes of one document are correlated. The effective sample size is
    (sum w)^2 / sum w^2 (Kish 1965). If it is below 30, or below 80 % of n because of uneven weights: Student's t with
    one degree of freedom less than that and the jackknife standard error (with equal weights, the usual interval of a
    mean); else the BCa bootstrap, which handles skew.
    """
    top, bottom = _floats(numerators), _floats(denominators)
    if len(top) != len(bottom) or not (bottom > 0).all():
        raise ValueError("a ratio needs one denominator above zero for each numerator")
    value, n = float(top.sum() / bottom.sum()), len(top)
    if n == 1:
        return Interval(value, None, None)
    without = (top.sum() - top) / (bottom.sum() - bottom)
    worth = float(bottom.sum() ** 2 / (bottom**2).sum())
    if worth < max(_SMALL - 1e-9, _EVEN * n):
        half = t_reach(confidence, worth) * math.sqrt((n - 1) / n * float(((without - value) ** 2).sum()))
        return Interval(value, value - half, value + half)
    ratios = np.concatenate([top[index].sum(axis=1) / bottom[index].sum(axis=1) for index in _draws(n, draws, seed)])
    return Interval(value, *_bca(ratios, value, without, confidence))


def bootstrap_statistic(
    statistic: Statistic, n: int, *, confidence: float = 0.95, draws: int = 1000, seed: int = 0
) -> Interval:
    """BCa bootstrap interval of any statistic of item indices (macro-F1, calibration error ...).

    No interval below 10 items.
    """
    value = float(statistic(np.arange(n)))
    if n < _FEWEST:
        return Interval(value, None, None)
    values = np.array([statistic(row) for index in _draws(n, draws, seed) for row in index])
    return Interval(value, *_bca(values, value, _leave_one_out(statistic, n), confidence))


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Difference:
    """(sum a - sum b) / sum weights over the same items; weights default to 1 each.

    Interval as in `bootstrap_ratio`; p by flipping the signs of the differences (see `sign_flip`).
    """
    first, second = _floats(a), _floats(b)
    if len(first) != len(second):
        raise ValueError(f"paired items differ in number: {len(first)} and {len(second)}")
    weight = np.ones_like(first) if weights is None else _floats(weights)
    delta = first - second
    interval = bootstrap_ratio(delta, weight, confidence=confidence, draws=draws, seed=seed)
    p, at_floor = sign_flip(delta, draws=draws, seed=seed)
    deviation = _ratio_deviation(delta, weight)
    return Difference(interval.value, interval.low, interval.high, p, len(delta), deviation, at_floor)


def paired_statistic(
    statistic: PairedStatistic, n: int, *, confidence: float = 0.95, draws: int = 1000, seed: int = 0
) -> Difference:
    """Difference between two systems in a statistic that is not a mean over items (macro-F1).

    `statistic(index, swapped)`: a's value minus b's on the items `index`, where `swapped` items have the two systems'
    answers exchanged. Interval: BCa bootstrap over items. p: approximate randomisation (Noreen 1989), exact up to 12
    items.
    """
    everyone, nobody = np.arange(n), np.zeros(n, dtype=bool)
    difference = bootstrap_statistic(
        lambda index: statistic(index, nobody[: len(index)]), n, confidence=confidence, draws=draws, seed=seed
    )
    p, at_floor = randomised(difference.value, lambda swap: statistic(everyone, swap), n, draws, seed)
    deviation = None
    if n > 1:
        without = _leave_one_out(lambda index: statistic(index, nobody[: len(index)]), n)
        deviation = math.sqrt((n - 1) * float(((without - without.mean()) ** 2).sum()))
    return Difference(difference.value, difference.low, difference.high, p, n, deviation, at_floor)


def sign_flip(differences: ArrayLike, *, draws: int = 1000, seed: int = 0) -> tuple[float, bool]:
    """Two-sided p-value that paired differences are symmetric around zero, and whether it is the floor.

    All 2^n sign flips for up to 12 non-zero differences; above, `draws` random ones, with one added to both counts
    (Davison & Hinkley 1997, section 4.3), so p is never below 1 / (draws + 1).
    """
    delta = _floats(differences)
    delta = delta[delta != 0]  # flipping a zero changes nothing
    n, total = len(delta), float(delta.sum())
    reached = abs(total) * (1 - 1e-9)  # a sum in another order may round below its mirror image
    if n == 0:
        return 1.0, False
    if n <= _EXACT:
        return float((np.abs(total - 2 * (_every_flip(n) @ delta)) >= reached).mean()), False
    hits = sum(int((np.abs(total - 2 * (flips @ delta)) >= reached).sum()) for flips in _flips(n, draws, seed))
    return (hits + 1) / (draws + 1), hits == 0


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided p-value that wins and losses are equally likely; the caller leaves out ties."""
    n = wins + losses
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**n)))  # a fraction: 2**n outgrows a float at n = 1024


def mcnemar(right_a: ArrayLike, right_b: ArrayLike) -> float:
    """Exact McNemar p-value for two systems on the same items: a flag, or 0 to 1 with ties as 0.5, for each."""
    edge = _floats(right_a) - _floats(right_b)
    return sign_test(int((edge > 0).sum()), int((edge < 0).sum()))


def detectable_difference(deviation: float, n: int, power: float = 0.8, confidence: float = 0.95) -> float:
    """Smallest true difference that n items with this standard deviation detect with the given power."""
    return (_z(confidence) + NormalDist().inv_cdf(power)) * deviation / math.sqrt(n)


def items_needed(deviation: float, difference: float, power: float = 0.8, confidence: float = 0.95) -> float:
    """Number of items that detect a true difference of this size with the given power; infinite for 0."""
    if difference == 0:
        return math.inf
    return ((_z(confidence) + NormalDist().inv_cdf(power)) * deviation / difference) ** 2


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def t_reach(confidence: float, n: float) -> float:
    """Student's two-sided critical value with n - 1 degrees of freedom, but not less than a tenth of one."""
    from scipy.special import stdtrit

    return float(stdtrit(max(0.1, n - 1), (1 + confidence) / 2))


def _floats(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError("statistics require a flat, non-empty list of numbers")
    if not np.isfinite(array).all():
        raise ValueError("statistics require finite numbers")
    return array


def _ratio_deviation(top: Floats, bottom: Floats) -> float | None:
    """Standard deviation of one item's contribution to sum(top) / sum(bottom); None for one item."""
    n = len(top)
    if n < 2:
        return None
    residual = top - top.sum() / bottom.sum() * bottom
    return math.sqrt(float((residual**2).sum()) / (n - 1)) * n / float(bottom.sum())


def _leave_one_out(statistic: Statistic, n: int) -> Floats:
    everyone = np.arange(n)
    return np.array([statistic(np.delete(everyone, i)) for i in range(n)])


def _draws(n: int, draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Resampled item indices [draws, n], in chunks of bounded memory."""
    generator = np.random.default_rng(seed)
    rows = max(1, min(draws, _CHUNK // n))
    for start in range(0, draws, rows):
        yield generator.integers(0, n, size=(min(rows, draws - start), n))


def _flips(n: int, draws: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Random choices of items to flip [draws, n], in chunks of bounded memory."""
    generator = np.random.default_rng(seed)
    rows = max(1, min(draws, _CHUNK // n))
    for start in range(0, draws, rows):
        yield generator.random((min(rows, draws - start), n)) < 0.5


def _every_flip(n: int) -> NDArray[np.bool_]:
    """All choices of items to flip [2^n, n]."""
    return (np.arange(2**n)[:, None] >> np.arange(n)) % 2 == 1


def randomised(
    value: float, swapped: Callable[[NDArray[np.bool_]], float], n: int, draws: int, seed: int
) -> tuple[float, bool]:
    """p-value of a difference between two systems by randomly swapping their answers to some of n items (Noreen 1989;
    exact up to 12 items), and whether it is the floor. `swapped(flags)`: the difference after swapping."""
    reached = abs(value) * (1 - 1e-9)
    if n <= _EXACT:
        return float(np.mean([abs(swapped(swap)) >= reached for swap in _every_flip(n)])), False
    hits = sum(bool(abs(swapped(swap)) >= reached) for swaps in _flips(n, draws, seed) for swap in swaps)
    return (hits + 1) / (draws + 1), hits == 0


def _bca(drawn: Floats, value: float, without: Floats, confidence: float) -> tuple[float, float]:
    """Bias-corrected and accelerated bounds (Efron 1987) around `value`.

    `without`: the statistic with each item left out. The normal quantile is widened to Student's times
    sqrt(n / (n - 1)), since resamples spread less than samples (Hesterberg 2015, section 4.1).
    """
    normal, n = NormalDist(), len(without)
    below = float((drawn < value).mean() + (drawn == value).mean() / 2)
    edge = 1 / (len(drawn) + 1)
    bias = normal.inv_cdf(min(1 - edge, max(edge, below)))
    centred = without.mean() - without
    square = float((centred**2).sum())
    rounding = n * (1e-14 * float(np.abs(without).max())) ** 2  # deviation of equal values from their mean
    acceleration = float((centred**3).sum()) / (6 * square**1.5) if square > rounding else 0.0
    reach = t_reach(confidence, n) * math.sqrt(n / (n - 1))
    levels = [normal.cdf(bias + (bias + z) / max(0.05, 1 - acceleration * (bias + z))) for z in (-reach, reach)]
    low, high = np.quantile(drawn, levels)
    return min(float(low), value), max(float(high), value)
