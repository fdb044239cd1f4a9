"""What more rows are worth: accuracy at shares of the training rows, and the gain that doubling them promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.statistics import Interval


class Curve(TypedDict):
    """rows: of each point, ascending, the last is all of them. accuracy: in percent. gain, low, high: in points."""

    task: str
    who: str
    rows: list[int]
    accuracy: list[float]
    gain: float
    low: float | None
    high: float | None
    text: str


def learning_curve(
    task: str,
    who: str,
    rows: Sequence[int],
    hits: Sequence[NDArray[np.bool_]],
    confidence: float,
    draws: int,
    seed: int,
) -> Curve:
    """hits: for each number of training rows, which held-out texts were right; the same texts at every point."""
    gain = doubling_gain(rows, hits, confidence, draws, seed)
    bounds = "" if gain.low is None or gain.high is None else f" [{gain.low:+.1f}, {gain.high:+.1f}]"
    text = f"doubling the {rows[-1]:,} rows is worth about {gain.value:+.1f} points{bounds} of accuracy to {who}"
    return Curve(
        task=task, who=who, rows=list(rows), accuracy=[round(100 * float(h.mean()), 2) for h in hits],
        gain=round(gain.value, 3), low=_rounded(gain.low), high=_rounded(gain.high), text=text,
    )  # fmt: skip


def doubling_gain(
    rows: Sequence[int], hits: Sequence[NDArray[np.bool_]], confidence: float, draws: int, seed: int
) -> Interval:
    """Accuracy in points that twice the rows would add, by a power law of the error (Hestness et al. 2017).

    The interval is of what would be measured on as many texts. It has three sources: the texts (bootstrap), how far the
    points lie from a line (the luck of rows and of training), and the answers that change either way with more rows, as
    many as between the last two points.
    """
    right = np.stack(list(hits)).astype(np.float64)  # [points, texts]
    value = _gain(rows, right.mean(axis=1), right.shape[1])[0]
    if right.shape[1] < 10:
        return Interval(value, None, None)
    generator = np.random.default_rng(seed)
    changing = 100 * float(np.sqrt((right[-1] != right[-2]).mean() / right.shape[1]))
    found = np.empty(draws)
    for draw in range(draws):
        picked = right[:, generator.integers(right.shape[1], size=right.shape[1])].mean(axis=1)
        gain, spread = _gain(rows, picked, right.shape[1])
        found[draw] = gain + float(np.hypot(spread, changing)) * generator.standard_normal()
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))


def _gain(rows: Sequence[int], accuracy: NDArray[np.float64], texts: int) -> tuple[float, float]:
    """Points that doubling adds, and their standard error from the points' distance to the line.

    The error is a * rows^-b, a line of logarithms; half a text keeps a perfect score finite.
    """
    error = (texts * (1 - accuracy) + 0.5) / (texts + 1)
    x, y = np.log2(np.asarray(rows, dtype=np.float64)), np.log2(error)
    centred = x - x.mean()
    slope = float((centred * y).sum() / (centred**2).sum())
    left = y - y.mean() - slope * centred
    deviation = np.sqrt((left**2).sum() / max(1, len(x) - 2) / (centred**2).sum())
    last = float(error[-1])
    return 100 * last * (1 - 2**slope), float(100 * last * np.log(2) * 2**slope * deviation)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
