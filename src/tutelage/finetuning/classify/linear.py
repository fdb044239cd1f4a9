"""Logistic regression on the states of a frozen model: fit, penalty, and layer comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.store.events import EventLog
from tutelage.store.progress import ticker

Floats = NDArray[np.float32]
Link = Literal["softmax", "sigmoid", "ordinal"]  # one label per text, independent labels, ordered labels

PENALTIES = (30.0, 100.0, 300.0, 1000.0, 3000.0)  # of ridge regression, for comparing layers
STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # values of C, followed by half a decade around the best
FOLDS = 3


def likelihood(
    scores: NDArray[np.floating[Any]], wanted: Floats, link: Link
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Log-likelihood [rows] of the labels `wanted` (1 if a row has the label), and probabilities [rows, labels]."""
    if link == "sigmoid":
        probabilities = 1 / (1 + np.exp(-scores))
        return (wanted * scores - np.logaddexp(0, scores)).sum(axis=1), probabilities
    peak = scores.max(axis=1, keepdims=True)
    logprobs = scores - peak - np.log(np.exp(scores - peak).sum(axis=1, keepdims=True))
    return (wanted * logprobs).sum(axis=1), np.exp(logprobs)


def left_out_score(states: Floats, wanted: Floats, link: Link) -> float:
    """Leave-one-out score of ridge regression at the best penalty, in closed form.

    Softmax: accuracy; otherwise the negative mean squared error, for ordinal labels that of the label index. The
    leave-one-out prediction follows from the fit and the row's leverage (PRESS, Allen 1974).
    """
    if link == "ordinal":
        wanted = wanted.argmax(axis=1)[:, None].astype(np.float32)
    mean = wanted.mean(axis=0, dtype=np.float64)
    left, scale, _ = np.linalg.svd(states / _spread(states), full_matrices=False)
    inside = left.T @ (wanted - mean)
    best = -np.inf
    for penalty in PENALTIES:
        kept = scale**2 / (scale**2 + penalty)
        leverage = np.minimum((left**2 * kept).sum(axis=1), 1 - 1e-6)
        missed = (wanted - mean - left @ (kept[:, None] * inside)) / (1 - leverage)[:, None]
        if link != "softmax":
            best = max(best, -float((missed**2).mean()))
        else:
            best = max(best, float(((wanted - missed).argmax(axis=1) == wanted.argmax(axis=1)).mean()))
    return best


@dataclass(frozen=True)
class Rotated:
    """States in principal axes, after standardising each dimension: `along` [rows, axes], the `size` of each axis, and
    the map `back` [axes, hidden_size] to weights on the original states."""

    along: Floats
    size: Floats
    back: Floats

    @classmethod
    def of(cls, states: Floats) -> Rotated:
        spread = _spread(states)
        left, size, axes = np.linalg.svd(states / spread, full_matrices=False)
        return cls(left * size, size, np.asarray(axes / spread, np.float32))


def choose_strength(states: Floats, wanted: Floats, weight: NDArray[np.float64], link: Link, log: EventLog) -> float:
    """The C with the highest cross-validated likelihood; the smallest one in a tie."""
    rotated = folds(states)
    tick = ticker(log, "head", (len(STRENGTHS) + 2) * FOLDS, "fits")
    losses: dict[float, float] = {}

    def measure(strength: float) -> None:
        scores = unseen_scores(states, wanted, weight, strength, rotated, link)
        losses[strength] = -float((weight * likelihood(scores, wanted, link)[0]).sum(dtype=np.float64))
        tick(len(losses) * FOLDS)

    for strength in STRENGTHS:
        measure(strength)
    coarse = min(losses, key=lambda strength: (losses[strength], strength))
    for strength in (coarse / 10**0.5, coarse * 10**0.5):
        measure(strength)
    return min(losses, key=lambda strength: (losses[strength], strength))


def folds(states: Floats) -> list[Rotated]:
    """The training states of each fit: all but one fold."""
    fold = np.arange(len(states)) % FOLDS
    return [Rotated.of(states[fold != part]) for part in range(FOLDS)]


def unseen_scores(
    states: Floats, wanted: Floats, weight: NDArray[np.float64], strength: float, rotated: Sequence[Rotated], link: Link
) -> Floats:
    """Out-of-fold scores [rows, labels]."""
    fold = np.arange(len(wanted)) % FOLDS
    found = np.empty(wanted.shape, np.float32)
    for part in range(FOLDS):
        fit = fold != part
        found[~fit] = states[~fit] @ logistic(rotated[part], wanted[fit], weight[fit], strength, link).T
    return found


def logistic(states: Rotated, wanted: Floats, weight: NDArray[np.float64], strength: float, link: Link) -> Floats:
    """Weights [labels, hidden_size] of logistic regression without bias, which minimise squared weights / 2 +
    `strength` * weighted sum of losses.

    A label without rows gets zero weights with softmax, and is fitted as absent with sigmoid. Ordered labels share a
    direction, scaled by their rank, in addition to separate weights, both penalised alike: nearly parallel
    adjacent-categories logits (Agresti 2010, chapter 4). With few rows it is close to a model with one direction, and
    still a softmax over one logit per label.

    The axes are preconditioned by the initial Hessian, so that L-BFGS takes tens of steps instead of hundreds.
    """
    from scipy.optimize import minimize

    there = np.arange(wanted.shape[1]) if link == "sigmoid" else np.flatnonzero(wanted.any(axis=0))
    found = np.zeros((wanted.shape[1], states.back.shape[1]), np.float32)
    if link != "sigmoid" and len(there) < 2:
        return found
    wanted, count = np.asarray(wanted[:, there], np.float32), len(there)
    steps = (there - there.mean())[:, None].astype(np.float32)  # factor of each label on the shared direction
    rows = count + (link == "ordinal")
    steepness = 1 / 4 if link == "sigmoid" else (count - 1) / count**2
    scale = (1 / np.sqrt(1 + strength * states.size**2 * steepness)).astype(np.float32)
    along, weights = states.along * scale, weight[:, None].astype(np.float32)

    def of_labels(u: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        return u[:count] + steps * u[count:] if rows > count else u

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        u = flat.reshape(rows, -1).astype(np.float32)
        each, probabilities = likelihood(along @ of_labels(u).T, wanted, link)
        shrunk = u * scale
        loss = 0.5 * float((shrunk**2).sum()) - strength * float((weight * each).sum(dtype=np.float64))
        slope = strength * ((probabilities - wanted) * weights).T @ along
        if rows > count:
            slope = np.concatenate([slope, steps.T @ slope])
        return loss, (shrunk * scale + slope).ravel().astype(np.float64)

    start = np.zeros(rows * along.shape[1])
    solved = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 300, "ftol": 1e-7})
    found[there] = of_labels(solved.x.reshape(rows, -1) * scale) @ states.back
    return found


def _spread(states: Floats) -> Floats:
    return np.asarray(states.std(axis=0) + 1e-6, np.float32)
