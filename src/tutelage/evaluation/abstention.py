"""Selective classification: the confidence from which a classifier's answers reach a target precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

PRECISION, RISK = 0.95, 0.1


@dataclass(frozen=True)
class Abstention:
    """Coverage at a threshold: `share` of the texts reach a probability of `at_least`; `right` of those are correct."""

    at_least: float
    share: float
    right: float


def abstention(
    confidence: Sequence[float], hits: ArrayLike, precision: float = PRECISION, risk: float = RISK
) -> Abstention | None:
    """The lowest threshold whose answers are right in `precision` of new texts, with probability 1 - `risk`.

    Thresholds are tested from the strictest down by the exact binomial test until one fails, so no correction for
    multiple tests is needed (Angelopoulos et al. 2021, fixed-sequence testing; Geifman and El-Yaniv 2017). None if
    there are too few texts, or if not even the most confident answers are right often enough.
    """
    from scipy.stats import binom

    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(hits, dtype=bool)
    order = np.argsort(-sure, kind="stable")
    least = int(np.ceil(np.log(risk) / np.log(precision)))  # fewer prove nothing even if all are right
    found = None
    for count in _counts(len(sure), least):
        threshold = sure[order[count - 1]]
        answered = sure >= threshold  # ties are accepted or rejected together
        n, k = int(answered.sum()), int(right[answered].sum())
        if binom.sf(k - 1, n, precision) > risk:
            break
        found = Abstention(float(threshold), n / len(sure), k / n)
    return found


def _counts(n: int, least: int) -> list[int]:
    """Number of texts answered at each threshold tested: steps of 5 %, fixed in advance."""
    return [*range(least, n, max(1, n // 20)), n] if n >= least else []
