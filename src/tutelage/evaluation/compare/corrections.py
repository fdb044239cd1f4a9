"""Multiple-testing corrections: of twenty comparisons between equals, one is significant by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Correction = Literal["holm", "bh", "none"]


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the family-wise error rate (Holm 1979)."""
    order = sorted(range(len(p)), key=p.__getitem__)
    adjusted, reached = [0.0] * len(p), 0.0
    for rank, at in enumerate(order):
        reached = max(reached, min(1.0, (len(p) - rank) * p[at]))
        adjusted[at] = reached
    return adjusted


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the false discovery rate (Benjamini & Hochberg 1995)."""
    order = sorted(range(len(p)), key=p.__getitem__, reverse=True)
    adjusted, reached = [0.0] * len(p), 1.0
    for rank, at in enumerate(order):
        reached = min(reached, len(p) / (len(p) - rank) * p[at])
        adjusted[at] = reached
    return adjusted


def correct(p: Sequence[float], how: Correction) -> list[float]:
    if how == "none":
        return list(p)
    return holm(p) if how == "holm" else benjamini_hochberg(p)
