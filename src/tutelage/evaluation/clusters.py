"""Clustered items (documents of one source, questions on one passage): the cluster is the unit.

Items of one cluster are correlated, so a hundred of them carry less information than a hundred independent ones. The
sum over a cluster becomes one item of the ordinary statistics: intervals resample clusters, tests flip the sign of a
whole cluster (Cameron, Gelbach & Miller 2008; for evaluations Miller 2024, section 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage.evaluation.statistics import Difference, Interval, bootstrap_ratio, paired_difference, t_reach, wilson

Floats = NDArray[np.float64]

MIN_CLUSTERS = 10
"""With fewer clusters an interval over new clusters is useless; items are then the units, and the result says so."""


def units(clusters: Sequence[str | None] | None, *columns: ArrayLike) -> tuple[Floats, ...]:
    """Sums of each column over each cluster, in the order of their first items; without clusters the columns.

    An item whose cluster is None or "" is its own cluster.
    """
    arrays = tuple(np.asarray(column, dtype=np.float64) for column in columns)
    if clusters is None:
        return arrays
    if any(len(array) != len(clusters) for array in arrays):
        raise ValueError("every item needs a cluster")
    number: dict[object, int] = {}
    index = np.array([number.setdefault(one or ("item", at), len(number)) for at, one in enumerate(clusters)])
    return tuple(np.bincount(index, weights=array, minlength=len(number)).astype(np.float64) for array in arrays)


def usable(clusters: Sequence[str | None] | None) -> Sequence[str | None] | None:
    """The clusters if there are enough of them and they are not the items themselves, else None."""
    if clusters is None:
        return None
    count = len(units(clusters, np.ones(len(clusters)))[0])
    return clusters if MIN_CLUSTERS <= count < len(clusters) else None


def share_interval(
    right: ArrayLike, clusters: Sequence[str | None] | None = None, confidence: float = 0.95
) -> Interval:
    """Wilson interval of a share; with clusters, computed with the effective number of independent items.

    That number is n divided by the design effect (by the jackknife over clusters), corrected for few and uneven ones
    (Korn & Graubard 1998; Franco et al. 2019, "modified Wilson"); it is never above n.
    """
    flags = np.asarray(right, dtype=np.float64)
    n, share = len(flags), float(flags.mean())
    if clusters is None:
        return wilson(float(flags.sum()), n, confidence)
    top, bottom = units(clusters, flags, np.ones(n))
    count = len(top)
    if count < 2:
        return Interval(share, None, None)
    without = (top.sum() - top) / (n - bottom)
    spread = (count - 1) / count * float(((without - share) ** 2).sum())
    alone = share * (1 - share) / n
    few = (t_reach(confidence, n) / t_reach(confidence, n**2 / float((bottom**2).sum()))) ** 2
    worth = n * few if spread <= alone or alone == 0 else n * few * alone / spread
    return wilson(share * worth, max(worth, 2.0), confidence)


def design_effect(values: ArrayLike, clusters: Sequence[str | None], weights: ArrayLike | None = None) -> float:
    """How many times wider an interval of the mean becomes by the clusters (1: they do not matter)."""
    top = np.asarray(values, dtype=np.float64)
    bottom = np.ones_like(top) if weights is None else np.asarray(weights, dtype=np.float64)
    centre = top.sum() / bottom.sum()
    alone = float(((top - centre * bottom) ** 2).sum())
    (together,) = units(clusters, top - centre * bottom)
    return math.sqrt(float((together**2).sum()) / alone) if alone else 1.0


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    clusters: Sequence[str | None] | None,
    *,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """`bootstrap_ratio` with clusters as the units."""
    top, bottom = units(clusters, numerators, denominators)
    return bootstrap_ratio(top, bottom, confidence=confidence, draws=draws, seed=seed)


def clustered_difference(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[str | None] | None,
    weights: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Difference:
    """`paired_difference` with clusters as the units: all differences of a cluster change their sign together."""
    first = np.asarray(a, dtype=np.float64)
    weight = np.ones_like(first) if weights is None else np.asarray(weights, dtype=np.float64)
    if clusters is None:
        return paired_difference(first, b, weight, confidence=confidence, draws=draws, seed=seed)
    ours, theirs, size = units(clusters, first, b, weight)
    found = paired_difference(ours, theirs, size, confidence=confidence, draws=draws, seed=seed)
    return replace(found, n=len(first), clusters=len(ours))
