"""Paired comparisons for every kind of measure: per-item means, shares, wins, and statistics over all items."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from tutelage.evaluation.clusters import clustered_difference, ratio_interval
from tutelage.evaluation.figures import Comparison, comparison
from tutelage.evaluation.shares import paired_shares
from tutelage.evaluation.statistics import (
    Interval,
    PairedStatistic,
    paired_statistic,
    sign_test,
)
from tutelage.evaluation.verdicts import did_not_suffer, verdict

Clusters = Sequence[str | None] | None  # the cluster of each item


class _Config(Protocol):
    @property
    def confidence(self) -> float: ...

    @property
    def bootstrap(self) -> int: ...


@dataclass(frozen=True)
class Resampling:
    """Confidence level, number of resampling draws, and their seed."""

    confidence: float = 0.95
    draws: int = 1000
    seed: int = 0

    @classmethod
    def of(cls, config: _Config, seed: int) -> Resampling:
        """Read the settings; at least enough draws for a p-value below 1 - confidence to be possible."""
        return cls(config.confidence, max(config.bootstrap, math.ceil(10 / (1 - config.confidence))), seed)

    @property
    def options(self) -> dict[str, Any]:
        return {"confidence": self.confidence, "draws": self.draws, "seed": self.seed}


@dataclass(frozen=True)
class Contest:
    """Item by item, which of two systems scored higher. `rate`: a's win rate, ties counting half.

    p: by `test`: exact sign test of wins and losses without the ties; with clusters, a sign-flip test over clusters.
    """

    wins: int
    ties: int
    losses: int
    rate: Interval
    p: float
    test: str = "sign test"

    @property
    def note(self) -> str:
        return f"{self.wins} wins, {self.ties} ties (half a win), {self.losses} losses; {self.test} p = {self.p:.3g}."


def pairs_of(models: Sequence[str], baselines: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs to compare: every model with every baseline, and with each model before it."""
    against = [(model, baseline) for model in models for baseline in baselines]
    return against + [(after, before) for i, after in enumerate(models) for before in models[:i]]


def compare_means(
    a: str,
    b: str,
    measure: str,
    first: ArrayLike,
    second: ArrayLike,
    how: Resampling,
    *,
    weights: ArrayLike | None = None,
    higher_is_better: bool = True,
    unit: str = "",
    digits: int = 2,
    shares: bool = False,
    note: str = "",
    clusters: Clusters = None,
) -> Comparison:
    """Means of values per item (chrF, ROUGE-L, a rule's score), or sums over `weights` (bits over bytes)."""
    difference = clustered_difference(first, second, clusters, weights, **how.options)
    said = verdict(
        a, b, difference, higher_is_better=higher_is_better, unit=unit,
        confidence=how.confidence, digits=digits, shares=shares,
    )  # fmt: skip
    return comparison(a, b, measure, difference, said, note=note)


def compare_shares(
    a: str, b: str, measure: str, first: ArrayLike, second: ArrayLike, how: Resampling, higher_is_better: bool = True,
    clusters: Clusters = None,
) -> Comparison:  # fmt: skip
    """Binary outcomes (right, ended, passed) in percentage points, by exact McNemar test.

    first, second: a flag per item, or 0 to 1 with ties as 0.5. If some items differ by 0.5 and others by 1, or if there
    are clusters, a sign-flip test is used instead.
    """
    if clusters is None:
        difference, test = paired_shares(first, second, **how.options)
    else:
        ours, theirs = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
        difference = clustered_difference(ours * 100, theirs * 100, clusters, **how.options)
        test = "sign-flip test of clusters"
    said = verdict(
        a, b, difference, higher_is_better=higher_is_better, unit="points", confidence=how.confidence, digits=1,
        shares=True,
    )  # fmt: skip
    return comparison(a, b, measure, difference, said, note=f" ({test})")


def compare_statistic(
    a: str,
    b: str,
    measure: str,
    statistic: PairedStatistic,
    n: int,
    how: Resampling,
    *,
    higher_is_better: bool = True,
    digits: int = 3,
    unit: str = "",
) -> Comparison:
    """A statistic of all items together (macro-F1): bootstrap interval, randomisation test."""
    difference = paired_statistic(statistic, n, **how.options)
    said = verdict(
        a, b, difference, higher_is_better=higher_is_better, confidence=how.confidence, digits=digits, shares=True,
        unit=unit,
    )  # fmt: skip
    return comparison(a, b, measure, difference, said, note=" (randomisation test)")


def compare_wins(
    a: str, b: str, measure: str, first: ArrayLike, second: ArrayLike, how: Resampling, clusters: Clusters = None
) -> tuple[Contest, Comparison]:
    """Item-level scores: win rate minus loss rate in points, by exact sign test without the ties; with clusters, by
    sign flips over clusters."""
    edge = np.sign(np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64))
    wins, losses = int((edge > 0).sum()), int((edge < 0).sum())
    rate = ratio_interval((edge + 1) / 2, np.ones(len(edge)), clusters, **how.options)
    difference = clustered_difference(edge * 100, np.zeros(len(edge)), clusters, **how.options)
    if clusters is None:
        difference = replace(difference, p=sign_test(wins, losses), at_floor=False)
    test = "sign test" if clusters is None else "sign-flip test of clusters"
    contest = Contest(wins, len(edge) - wins - losses, losses, rate, difference.p, test)
    said = verdict(a, b, difference, unit="points of wins", confidence=how.confidence, digits=1, shares=True)
    return contest, comparison(a, b, measure, difference, said, note=f"; {contest.note}")


def compare_within(
    a: str, b: str, measure: str, first: ArrayLike, second: ArrayLike, margin: float, how: Resampling, unit: str = "",
    clusters: Clusters = None,
) -> Comparison:  # fmt: skip
    """Non-inferiority: whether a lost no more than `margin` against b, in a measure where higher is better."""
    difference = clustered_difference(first, second, clusters, **how.options)
    said = verdict(a, b, difference, unit=unit, confidence=how.confidence)
    claim = did_not_suffer(a, b, difference, margin, unit=unit, confidence=how.confidence)
    return comparison(a, b, measure, difference, said, claim=claim, margin=margin)


def compare_all(
    measure: str,
    values: Mapping[str, Sequence[float] | Sequence[bool]],
    pairs: Iterable[tuple[str, str]],
    how: Resampling,
    *,
    shares: bool = False,
    unit: str = "",
    higher_is_better: bool = True,
    clusters: Clusters = None,
) -> list[Comparison]:
    """One measure for all pairs in which both sides have values for every item; other pairs are left out."""
    found = []
    for a, b in pairs:
        if a in values and b in values:
            if shares:
                found.append(compare_shares(a, b, measure, values[a], values[b], how, higher_is_better, clusters))
            else:
                found.append(compare_means(
                    a, b, measure, values[a], values[b], how, unit=unit, higher_is_better=higher_is_better,
                    clusters=clusters,
                ))  # fmt: skip
    return found
