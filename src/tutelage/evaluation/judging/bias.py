"""Measure and correct the biases of a judge. Pure functions of arrays.

Outcomes are those of the first system against the second: 1 it wins, 0 it loses, 0.5 a tie, NaN unreadable; [items, 2]
holds the verdict with the first system shown first, and with the second system shown first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage.evaluation.statistics import Interval, bootstrap_mean, sign_flip, t_reach, wilson

Floats = NDArray[np.float64]
_PRIOR = 0.1  # precision of a normal prior on each coefficient: keeps it finite for perfectly separable verdicts
_LEAST = 20  # minimum number of items for length control


@dataclass(frozen=True)
class Position:
    """first: share of verdicts for the answer shown first, ties counting half; 0.5 means no bias.

    flips: share of the items judged in both orders whose winner changes with the order. p: sign-flip test that first is
    0.5.
    """

    first: Interval
    flips: Interval | None
    p: float


@dataclass(frozen=True)
class LengthControlled:
    """rate: the win rate at equal length, without position bias. raw: the mean of both orders.

    coefficient: log-odds for a much longer answer (tanh of the standardised difference = 1). planted, recovered: a
    check on the same lengths: the mean estimate for simulated judges with that bias, whose true rate at equal length is
    `planted`.
    """

    rate: Interval
    raw: float
    coefficient: Interval
    planted: float
    recovered: float


def position_bias(outcomes: ArrayLike, confidence: float = 0.95) -> Position:
    """The effect of presentation order. Raises ValueError if no verdict is readable."""
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
    """Interval of a mean of rates, 0 to 1: bootstrap, or Wilson if all rates are equal."""
    values = np.asarray(rates, dtype=np.float64)
    if values.std() == 0:
        return wilson(float(values.sum()), len(values), confidence)
    found = bootstrap_mean(values, confidence=confidence)
    assert found.low is not None and found.high is not None
    return Interval(found.value, max(0.0, found.low), min(1.0, found.high))


def win_rates(outcomes: ArrayLike) -> Floats:
    """The first system's win rate on each item with a readable verdict: the mean of both orders."""
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
    and on the side, evaluated where both are zero; standard errors are clustered by item.

    After length-controlled AlpacaEval (Dubois et al. 2024, equation 2, without the instruction terms, which would
    require a download). None below 20 items, or if all length differences or all verdicts are equal, because length and
    quality are then not separable.
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
    """A judge against people on the same items. share: of equal verdicts; kappa: chance-corrected (Cohen 1960).

    rate: estimated human win rate of the first system on all items (`corrected_rate`); judge, people: win rates on the
    human-labelled sample.
    """

    n: int
    share: Interval
    kappa: float
    judge: float
    people: float
    rate: Interval


def agreement(judged: ArrayLike, sampled: ArrayLike, people: ArrayLike, confidence: float = 0.95) -> Agreement:
    """judged: the judge's win rate on every item; sampled, people: on the human-labelled items, by judge and by people.

    If the judge's verdicts in the two orders disagree, the item is a tie.
    """
    every, mine, theirs = (np.asarray(values, dtype=np.float64) for values in (judged, sampled, people))
    a, b = np.sign(mine - 0.5), np.sign(theirs - 0.5)
    return Agreement(
        len(mine), wilson(float((a == b).sum()), len(a), confidence), kappa(a.tolist(), b.tolist()),
        float(mine.mean()), float(theirs.mean()), corrected_rate(every, mine, theirs, confidence),
    )  # fmt: skip


def corrected_rate(judged: ArrayLike, sampled: ArrayLike, people: ArrayLike, confidence: float = 0.95) -> Interval:
    """The estimated human win rate on all items: the judge's, minus its mean error on the human-labelled items.

    Prediction-powered inference (Angelopoulos et al. 2023), the judge weighted by its agreement (PPI++ 2023, equation
    8; an uninformative judge gets zero weight). The sample must be random; unbiased for any bias of the judge.
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
    """Cohen's kappa of two raters' categories; 1 if both always gave the same single category."""
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
    """Mean rate at equal length that the regression estimates for simulated judges with these coefficients."""
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
