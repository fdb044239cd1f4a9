"""Learning curves: accuracy at several training set sizes, and the expected gain from doubling the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.statistics import Interval

_SHARE = 0.85  # prior: each doubling gains this share of the previous doubling's gain
_WEIGHT = 2.0  # weight of the prior: the same as that of three measured gains
_UNSURE = 0.15  # standard deviation of the logarithm of the prior


class Curve(TypedDict):
    """rows: training rows at each point, ascending; the last is all. accuracy: percent. gain, low, high: points."""

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
    """hits: for each number of training rows, whether each held-out text was right; the same texts at every point."""
    gain = doubling_gain(rows, hits, confidence, draws, seed)
    bounds = "" if gain.low is None or gain.high is None else f" [{gain.low:+.1f}, {gain.high:+.1f}]"
    text = f"doubling the {rows[-1]:,} rows is worth about {gain.value:+.1f} points{bounds} of accuracy to {who}"
    return Curve(
        task=task, who=who, rows=list(rows), accuracy=[round(100 * float(h.mean()), 2) for h in hits],
        gain=round(gain.value, 3), low=_rounded(gain.low), high=_rounded(gain.high), text=text,
    )  # fmt: skip


def doubling_gain(
    rows: Sequence[int],
    hits: Sequence[NDArray[np.bool_]],
    confidence: float,
    draws: int,
    seed: int,
    times: float = 2.0,
) -> Interval:
    """Gain in accuracy, in points, from `times` the rows, by a power law of the error (Hestness et al. 2017).

    The interval is a prediction interval for as many texts. It has three sources: the texts (bootstrap), the residuals
    of the fit (variance from rows and training), and the answers that change either way with more rows, as many as
    between the last two points.
    """
    right = np.stack(list(hits)).astype(np.float64)  # [points, texts]
    value = _gain(rows, right.mean(axis=1), right.shape[1], times)[0]
    if right.shape[1] < 10:
        return Interval(value, None, None)
    generator = np.random.default_rng(seed)
    changing = 100 * float(np.sqrt((right[-1] != right[-2]).mean() / right.shape[1]))
    found = np.empty(draws)
    for draw in range(draws):
        picked = right[:, generator.integers(right.shape[1], size=right.shape[1])].mean(axis=1)
        gain, spread = _gain(rows, picked, right.shape[1], times)
        found[draw] = gain + float(np.hypot(spread, changing)) * generator.standard_normal()
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))


def bits_gain(
    bits: NDArray[np.float64],
    sizes: NDArray[np.float64],
    confidence: float,
    draws: int,
    seed: int,
    times: float = 2.0,
) -> Interval:
    """Change in bits per byte from `times` the rows, by a power law with a floor; negative is a gain.

    bits: [points, texts], bits of each held-out text after training on `rows`, which double from point to point; sizes:
    bytes of the texts. The interval has two sources: the texts (bootstrap), and how fast gains shrink with each
    doubling, which a few points hardly determine.
    """
    doublings = float(np.log2(times))
    value = _bits_gain(bits.sum(axis=1) / sizes.sum(), doublings)
    if bits.shape[1] < 10:
        return Interval(value, None, None)
    generator = np.random.default_rng(seed)
    found = np.empty(draws)
    for draw in range(draws):
        picked = generator.integers(bits.shape[1], size=bits.shape[1])
        per_byte = bits[:, picked].sum(axis=1) / sizes[picked].sum()
        found[draw] = _bits_gain(per_byte, doublings, _UNSURE * generator.standard_normal())
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))


def _gain(rows: Sequence[int], accuracy: NDArray[np.float64], texts: int, times: float) -> tuple[float, float]:
    """Gain in points from `times` the rows, and its standard error from the residuals of the fit.

    The error is a * rows^-b, linear in logarithms; adding half a text keeps the logarithm of a zero error finite.
    """
    error = (texts * (1 - accuracy) + 0.5) / (texts + 1)
    slope, deviation = _line(rows, error)
    last, scale = float(error[-1]), times**slope
    return 100 * last * (1 - scale), float(100 * last * np.log(times) * scale * deviation)


def _bits_gain(bits: NDArray[np.float64], doublings: float, more: float = 0.0) -> float:
    """Change in bits after further doublings. By the law E + a * rows^-b, each doubling gains the share 2^-b of the
    previous gain; that share is fitted to the measured doublings and shrunk towards the prior `_SHARE`. `more`: added
    to its logarithm."""
    gains = -np.diff(bits)
    x = np.arange(len(gains)) - (len(gains) - 1) / 2
    if (gains > 0).all():
        logs = np.log(gains)
        slope = float((x * logs).sum() + _WEIGHT * np.log(_SHARE)) / float((x**2).sum() + _WEIGHT)
        last = float(np.exp(logs.mean() + slope * x[-1]))
    else:  # too noisy for a trend
        slope, last = float(np.log(_SHARE)), float(gains.mean())
    share = float(np.exp(np.clip(slope + more, np.log(0.5), -1e-6)))
    return -last * share * (1 - share**doublings) / (1 - share)


def _line(rows: Sequence[int], values: NDArray[np.float64]) -> tuple[float, float]:
    """Slope of log(values) over log(rows), and its standard error."""
    x, y = np.log2(np.asarray(rows, dtype=np.float64)), np.log2(values)
    centred = x - x.mean()
    slope = float((centred * y).sum() / (centred**2).sum())
    left = y - y.mean() - slope * centred
    return slope, float(np.sqrt((left**2).sum() / max(1, len(x) - 2) / (centred**2).sum()))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
