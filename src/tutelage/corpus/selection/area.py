"""The area under the ROC curve: how often one of some values stands above one of others, a tie being a half."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tutelage.corpus.selection.features import Floats


@dataclass(frozen=True)
class Area:
    """The area, 0 to 1, with its interval."""

    value: float
    low: float
    high: float


def share_below(values: ArrayLike, others: ArrayLike) -> Floats:
    """Of `others` [n] the share below each of `values` [m], a tie being a half: [m]. Both hold something."""
    ordered = np.sort(np.asarray(others, np.float64))
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(below / (2 * len(ordered)))


def area(values: ArrayLike, others: ArrayLike, confidence: float = 0.95) -> Area:
    """How often one of `values` stands above one of `others`, with DeLong's interval (1988) by Student's t with Welch's
    degrees of freedom. Two of each at least."""
    from scipy.special import stdtrit

    first, second = share_below(values, others), share_below(others, values)
    value = float(first.mean())
    parts = [(float(one.var(ddof=1)) / len(one), len(one) - 1) for one in (first, second)]
    variance = sum(part for part, _ in parts)
    if not variance:
        return Area(value, value, value)
    freedom = variance**2 / sum(part**2 / count for part, count in parts)
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * variance**0.5
    return Area(value, max(0.0, value - half), min(1.0, value + half))
