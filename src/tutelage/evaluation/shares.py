"""Paired difference of two proportions on the same items (right, ended, passed)."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from tutelage.evaluation.statistics import Difference, mcnemar, paired_difference


def paired_shares(
    a: ArrayLike, b: ArrayLike, *, scale: float = 100.0, confidence: float = 0.95, draws: int = 1000, seed: int = 0
) -> tuple[Difference, str]:
    """a minus b in points, with the name of the test. Values 0 to 1: a flag per item, ties as 0.5.

    Exact McNemar test; interval of Bonett & Price (2012), which has a width even if no item differs or all do, and
    covers well for small samples. If some items differ by 0.5 and others by 1, sign flips and resampled items are used
    instead (`paired_difference`).
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    drawn = {"confidence": confidence, "draws": draws, "seed": seed}
    gap = first - second
    sizes = np.unique(np.abs(gap[gap != 0]))
    if len(sizes) > 1:
        return paired_difference(first * scale, second * scale, **drawn), "sign-flip test"  # type: ignore[arg-type]
    n, step = len(gap), float(sizes[0]) * scale if len(sizes) else scale
    value, p = float(gap.mean()) * scale, mcnemar(first, second)
    if n == 1:
        return Difference(value, None, None, p, n), "exact McNemar test"
    more, less = ((int(count) + 1) / (n + 2) for count in ((gap > 0).sum(), (gap < 0).sum()))
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    half = z * math.sqrt((more + less - (more - less) ** 2) / (n + 2))
    low, high = (step * min(1.0, max(-1.0, more - less + side * half)) for side in (-1, 1))
    deviation = float(np.std(gap, ddof=1)) * scale
    return Difference(value, min(low, value), max(high, value), p, n, deviation), "exact McNemar test"
