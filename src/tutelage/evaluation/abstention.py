"""Where a classifier may answer and be right often enough on fresh texts, and where it had better not answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

PRECISION, RISK = 0.95, 0.1


@dataclass(frozen=True)
class Abstention:
    """A share of the texts is answered, those with a probability of `at_least`; of these `right` were right here."""

    at_least: float
    share: float
    right: float


def abstention(
    confidence: Sequence[float], hits: ArrayLike, precision: float = PRECISION, risk: float = RISK
) -> Abstention | None:
    """The lowest threshold whose answers are right in `precision` of fresh texts, but for a chance of `risk`.

    Thresholds are tested one after another, the strictest first, by the exact binomial test, until one fails: so no
    correction for their number is needed (Angelopoulos et al. 2021, fixed-sequence testing; Geifman and El-Yaniv 2017).
    None where the texts are too few, or not even the surest are right often enough.
    """
    from scipy.stats import binom

    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(hits, dtype=bool)
    order = np.argsort(-sure, kind="stable")
    least = int(np.ceil(np.log(risk) / np.log(precision)))  # fewer cannot show it, were they all right
    found = None
    for count in _counts(len(sure), least):
        threshold = sure[order[count - 1]]
        answered = sure >= threshold  # ties stand or fall together
        n, k = int(answered.sum()), int(right[answered].sum())
        if binom.sf(k - 1, n, precision) > risk:
            break
        found = Abstention(float(threshold), n / len(sure), k / n)
    return found


def _counts(n: int, least: int) -> list[int]:
    """How many texts are answered by each threshold that is tried: steps of a twentieth, fixed beforehand."""
    return [*range(least, n, max(1, n // 20)), n] if n >= least else []
