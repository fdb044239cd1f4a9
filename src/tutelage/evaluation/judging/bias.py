"""What a judge prefers besides the better answer, measured and taken out. Pure functions of arrays.

Outcomes are those of the first party against the second: 1 it wins, 0 it loses, 0.5 a tie, NaN unreadable; [items, 2]
holds the verdict with the first party shown first, and with the second party shown first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage.evaluation.statistics import Interval, bootstrap_mean, sign_flip, t_reach, wilson

Floats = NDArray[np.float64]
_PRIOR = 0.1  # precision of a normal prior on each coefficient: a judge who is never contradicted stays finite
_LEAST = 20  # items below which no length is controlled for


@dataclass(frozen=True)
class Position:
    """first: share of verdicts for the answer shown first, a tie being a half; 0.5 is no bias.

    flips: share of the items read in both orders whose verdict names the other party when they change places.
    p: sign-flip test that first is 0.5.
    """

    first: Interval
    flips: Interval | None
    p: float


@dataclass(frozen=True)
class LengthControlled:
    """rate: the win rate at equal length and without a side. raw: both orders averaged.

    coefficient: log-odds for an answer that is longer by far (tanh of the standardised difference being 1). planted,
    recovered: a check on these very lengths: the mean estimate of simulated judges of that bias whose true rate at
    equal length is `planted`.
    """

    rate: Interval
    raw: float
    coefficient: Interval
    planted: float
    recovered: float


def position_bias(outcomes: ArrayLike, confidence: float = 0.95) -> Position:
    """How much it matters which answer is shown first. Raises ValueError where no verdict was readable."""
    array = _outcomes(outcomes)
    for_first = np.column_stack([array[:, 0], 1 - array[:, 1]])
    there = ~np.isnan(for_first)
    kept = there.any(axis=1)
    if not kept.any():
        raise ValueError("no verdict is readable")
    top, count = np.where(there, for_first, 0.0).sum(axis=1)[kept], there.sum(axis=1)[kept]
    both = array[there.all(axis=1)]
    flipped = (both[:, 0] - 0.5) * (both[:, 1] - 0.5) < 0
    first = rate_interval(top / count, confidence)
    flips = wilson(float(flipped.sum()), len(both), confidence) if len(both) else None
    return Position(first, flips, sign_flip(top - count / 2)[0])


def rate_interval(rates: ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of a mean of rates, 0 to 1: bootstrap, and Wilson where all are alike and there is nothing to draw."""
    values = np.asarray(rates, dtype=np.float64)
    if values.std() == 0:
        return wilson(float(values.sum()), len(values), confidence)
    found = bootstrap_mean(values, confidence=confidence)
    assert found.low is not None and found.high is not None
    return Interval(found.value, max(0.0, found.low), min(1.0, found.high))


def win_rates(outcomes: ArrayLike) -> Floats:
    """The first party's win rate of each item with a readable verdict: both orders averaged."""
    array = _outcomes(outcomes)
    kept = array[~np.isnan(array).all(axis=1)]
    return np.nanmean(kept, axis=1) if len(kept) else np.zeros(0)


def length_controlled(
    outcomes: ArrayLike,
    lengths_a: ArrayLike,
    lengths_b: ArrayLike,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    judges: int = 100,
) -> LengthControlled | None:
    """Win rate at equal length: logistic regression of the verdicts on tanh of the standardised difference in length
    and on the side, read where both are zero; standard errors cluster by item.

    After length-controlled AlpacaEval (Dubois et al. 2024, equation 2, without the terms for the instruction), so that
    nothing has to be downloaded. None below 20 items, or where all lengths differ
    alike or all verdicts are the same: then the two cannot be told apart.
    """
    array = _outcomes(outcomes)
    difference = np.asarray(lengths_a, dtype=np.float64) - np.asarray(lengths_b, dtype=np.float64)
    spread = float(difference.std())
    rates = win_rates(array)
    if len(rates) < _LEAST or spread == 0 or rates.std() == 0:
        return None
    reach = np.tanh(difference / spread)
    item, design, answer = _rows(array, reach)
    weights, covariance = _fit(design, answer, item)
    count = len(np.unique(item))
    z = t_reach(confidence, count)
    errors = np.sqrt(np.diag(covariance))

    def bounds(at: int) -> tuple[float, float, float]:
        return float(weights[at]), float(weights[at] - z * errors[at]), float(weights[at] + z * errors[at])

    planted = _sigmoid(weights[0])
    return LengthControlled(
        Interval(*(float(_sigmoid(value)) for value in bounds(0))),
        float(rates.mean()),
        Interval(*bounds(1)),
        float(planted),
        _recovered(design, item, weights, seed, judges) if judges else float(planted),
    )


@dataclass(frozen=True)
class Agreement:
    """A judge against people on the same items. share: of equal verdicts; kappa: beyond chance (Cohen 1960).

    rate: win rate of the first party as people would give it on all items (`corrected_rate`); judge, people: on the
    sample that people saw.
    """

    n: int
    share: Interval
    kappa: float
    judge: float
    people: float
    rate: Interval


def agreement(judged: ArrayLike, sampled: ArrayLike, people: ArrayLike, confidence: float = 0.95) -> Agreement:
    """judged: win rate of every item by the judge; sampled, people: of those that people saw, by judge and by people.

    A verdict of the judge's two orders that disagree is a tie.
    """
    every, mine, theirs = (np.asarray(values, dtype=np.float64) for values in (judged, sampled, people))
    a, b = np.sign(mine - 0.5), np.sign(theirs - 0.5)
    return Agreement(
        len(mine), wilson(float((a == b).sum()), len(a), confidence), kappa(a.tolist(), b.tolist()),
        float(mine.mean()), float(theirs.mean()), corrected_rate(every, mine, theirs, confidence),
    )  # fmt: skip


def corrected_rate(judged: ArrayLike, sampled: ArrayLike, people: ArrayLike, confidence: float = 0.95) -> Interval:
    """The win rate that people would give on all items: the judge's, less what it is off by where people voted.

    Prediction-powered inference (Angelopoulos et al. 2023), the judge weighed by how well it agrees (PPI++ 2023,
    equation 8; one that tells nothing gets no weight). The sample must be a random one of the items; right for any
    bias of the judge.
    """
    every, mine, theirs = (np.asarray(values, dtype=np.float64) for values in (judged, sampled, people))
    n = len(mine)
    value = float(theirs.mean())
    if n < 2:
        return Interval(value, None, None)
    scatter = float(np.var(mine, ddof=1))
    weight = 0.0
    if scatter > 0:
        covariance = float(((mine - mine.mean()) * (theirs - theirs.mean())).sum()) / (n - 1)
        weight = min(1.0, max(0.0, covariance / scatter / (1 + n / len(every))))
    rest = theirs - weight * mine
    value = float(weight * every.mean() + rest.mean())
    error = math.sqrt(weight**2 * float(np.var(every, ddof=1)) / len(every) + float(np.var(rest, ddof=1)) / n)
    half = t_reach(confidence, n) * error
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


def kappa(a: Sequence[object], b: Sequence[object]) -> float:
    """Cohen's kappa of two raters' categories; 1 where both gave one and the same category throughout."""
    names = sorted({*a, *b}, key=repr)
    n = len(a)
    agreed = sum(x == y for x, y in zip(a, b, strict=True)) / n
    chance = sum(list(a).count(name) * list(b).count(name) for name in names) / n**2
    return 1.0 if chance == 1 else (agreed - chance) / (1 - chance)


def _rows(array: Floats, reach: Floats) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Item, design [rows, 3] (one, length, side) and outcome of each readable verdict."""
    n = len(array)
    item = np.repeat(np.arange(n), 2)
    side = np.tile([0.5, -0.5], n)
    design = np.column_stack([np.ones(2 * n), np.repeat(reach, 2), side])
    there = ~np.isnan(array.reshape(-1))
    return item[there], design[there], array.reshape(-1)[there]


def _fit(design: Floats, answer: Floats, item: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Coefficients and their covariance, clustered by item (Liang & Zeger 1986), of a logistic regression."""
    weights = np.zeros(design.shape[1])
    for _ in range(50):
        fitted = _sigmoid(design @ weights)
        slope = design.T @ (answer - fitted) - _PRIOR * weights
        curve = (design * (fitted * (1 - fitted))[:, None]).T @ design + _PRIOR * np.eye(len(weights))
        step = np.linalg.solve(curve, slope)
        weights = weights + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    scores = design * (answer - _sigmoid(design @ weights))[:, None]
    _, place = np.unique(item, return_inverse=True)
    count = int(place.max()) + 1
    together = np.zeros((count, design.shape[1]))
    np.add.at(together, place, scores)
    bread = np.linalg.inv(curve)
    return weights, bread @ (together.T @ together) @ bread * count / max(1, count - 1)


def _recovered(design: Floats, item: NDArray[np.int64], weights: Floats, seed: int, judges: int) -> float:
    """Mean rate at equal length that the regression finds for simulated judges with these very coefficients."""
    generator = np.random.default_rng(seed)
    chance = _sigmoid(design @ weights)
    found = [
        _fit(design, (generator.random(len(chance)) < chance).astype(np.float64), item)[0][0] for _ in range(judges)
    ]
    return float(np.mean(_sigmoid(np.array(found))))


def _outcomes(outcomes: ArrayLike) -> Floats:
    array = np.asarray(outcomes, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError("outcomes are [items, 2]: the verdict in both orders")
    return array


def _sigmoid(values: ArrayLike) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -500, 500))), dtype=np.float64)
