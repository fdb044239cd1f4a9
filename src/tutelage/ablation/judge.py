"""The statistics of an ablation: two arms, the same held-out items, the same training seeds. Pure functions.

What an interval covers. The difference of two arms varies with the training seed and with the text it is measured on.
Both are counted: the interval holds for new seeds *and* new documents (packages where there are ten of them) of the
same kind, for this recipe, corpus and length of training. It does not hold for another order of the data or another
split (the data seed stays the same), another size of model, or other text.

- Variance between seeds: of the paired differences, one for each seed; Student's t with seeds - 1 degrees of freedom.
  Seeds are assumed to be normal: three of them cannot tell.
- Variance between items: of the differences averaged over seeds; Student's t with items - 1 degrees of freedom.
- Half-width: sqrt(t_seeds^2 V_seeds + t_items^2 V_items), each part by its own t (as in MOVER, Zou & Donner 2008). The
  usual Satterthwaite sum is too short where there are two seeds (12 % false instead of 5 in simulation, this one 4).
- Looking after every seed, and stopping when the question is settled: the k-th look spends its share of the error
  ((s/S)^3 less what was spent; s of S seeds; Lan & DeMets 1983, spending function of Kim & DeMets 1987), so that the
  shares add up to one. A p-value divided by its share, the smallest of all looks, is a p-value again (Bonferroni over
  looks), and the interval of a look has the level of that look (repeated intervals, Jennison & Turnbull 1989). Stopping
  because the arms are alike can only make a false winner rarer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.clusters import units
from tutelage.evaluation.paired import Clusters
from tutelage.evaluation.verdicts import MIN_ITEMS

Floats = NDArray[np.float64]
Outcome = Literal["better", "worse", "not distinguishable", "too few seeds", "too few items", "failed"]
CONFIDENCE, POWER = 0.95, 0.8
MOST_SEEDS = 64
_SPENDING = 3.0  # Kim & DeMets: the higher, the more is left for the last look


@dataclass(frozen=True)
class Scores:
    """Bits that an arm needs for each held-out item under each seed [seeds, items], and the items' bytes [items]."""

    bits: Floats
    bytes: Floats

    @property
    def per_byte(self) -> Floats:
        """Bits per byte of each seed [seeds]."""
        found: Floats = self.bits.sum(axis=1) / self.bytes.sum()
        return found

    def of(self, seeds: int) -> Scores:
        """The first seeds only."""
        return Scores(self.bits[:seeds], self.bytes)


def scores_of(runs: Sequence[Sequence[float]], sizes: Sequence[float], clusters: Clusters) -> Scores:
    """Scores of the runs of one arm, summed over packages where they are the units."""
    bits = np.stack([units(clusters, run)[0] for run in runs])
    return Scores(bits, units(clusters, sizes)[0])


@dataclass(frozen=True)
class Spread:
    """A difference in bits per byte and the variances of its mean: between seeds, and between items."""

    value: float
    seeds: int
    items: int
    seed_variance: float
    item_variance: float

    def half_width(self, level: float) -> float:
        """Half-width of the two-sided interval with error probability `level`; infinite with one seed or one item."""
        if min(self.seeds, self.items) < 2:
            return math.inf
        by_seed, by_item = _t(level, self.seeds - 1), _t(level, self.items - 1)
        return math.sqrt(by_seed**2 * self.seed_variance + by_item**2 * self.item_variance)

    def p(self) -> float:
        """The level whose interval just reaches zero."""
        if min(self.seeds, self.items) < 2 or self.value == 0:
            return 1.0
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if abs(self.value) > self.half_width(middle) else (middle, high)
        return high


@dataclass(frozen=True)
class Look:
    """A spread after this many seeds, and the share of the error that this look may spend."""

    spread: Spread
    share: float

    @property
    def p(self) -> float:
        return min(1.0, self.spread.p() / self.share)


@dataclass(frozen=True)
class Paired:
    """The result of the looks at an arm against the first. Differences are arm minus first, in bits per byte.

    p: over all looks, for this comparison alone; p_adjusted: over everything that was tried. low, high: at the level of
    the last look, for this comparison alone. detectable: the true difference that this many seeds would detect with
    80 % power.
    """

    difference: float
    low: float | None
    high: float | None
    p: float
    seeds: int
    detectable: float
    outcome: Outcome
    p_adjusted: float = 1.0
    settled: str = ""


def shares(seeds: int) -> dict[int, float]:
    """Share of the error that may be spent at the look after 2, 3 ... `seeds` seeds; they add up to one."""
    spent = [(number / seeds) ** _SPENDING if number > 1 else 0.0 for number in range(1, seeds + 1)]
    return {at + 1: spent[at] - spent[at - 1] for at in range(1, seeds)}


def spread(arm: Scores, first: Scores) -> Spread:
    """The paired difference of two arms, seed by seed and item by item."""
    differences, total = arm.bits - first.bits, float(first.bytes.sum())
    per_seed = differences.sum(axis=1) / total
    value, seeds, items = float(per_seed.mean()), *differences.shape
    residual = differences.mean(axis=0) - value * first.bytes
    between_items = items / max(1, items - 1) * float((residual**2).sum()) / total**2
    between_seeds = float(per_seed.var(ddof=1)) / seeds if seeds > 1 else math.inf
    return Spread(value, seeds, items, between_seeds, between_items)


def looks(arm: Scores, first: Scores, planned: int) -> list[Look]:
    """A look after each seed from the second on."""
    seeds = min(len(arm.bits), len(first.bits))
    share = shares(planned)
    return [Look(spread(arm.of(number), first.of(number)), share[number]) for number in range(2, seeds + 1)]


def paired(arm: Scores, first: Scores, planned: int, effect: float, tried: int = 1) -> Paired:
    """The difference with its p-value over all looks, before any correction for other arms; see `judged`.

    effect: the smallest difference that matters, in bits per byte. tried: for how many comparisons p will be corrected.
    """
    both = min(len(arm.bits), len(first.bits))
    found = looks(arm, first, planned)
    last = spread(arm.of(both), first.of(both))
    if not found or last.items < 2:
        few: Outcome = "too few items" if found else "too few seeds"
        return Paired(last.value, None, None, 1.0, last.seeds, math.inf, few)
    half = last.half_width((1 - CONFIDENCE) * found[-1].share)
    p = min(look.p for look in found)
    one = Paired(
        last.value, last.value - half, last.value + half, p, last.seeds,
        detectable(last, found[-1].share, tried), "too few seeds",
    )  # fmt: skip
    return judged(one, p, effect, last.items)


def judged(one: Paired, p_adjusted: float, effect: float, items: int) -> Paired:
    """The outcome at a p-value that is corrected for all that was tried.

    better, worse: p below 5 %. Not distinguishable: no difference as large as `effect` is left in the interval, or the
    seeds would have detected it with 80 % power. Otherwise there are too few seeds. Below ten items: no verdict.
    """
    if one.low is None or one.high is None:
        return replace(one, p_adjusted=p_adjusted)
    alike = -effect < one.low and one.high < effect
    outcome: Outcome
    if items < MIN_ITEMS:
        outcome = "too few items"
    elif p_adjusted < round(1 - CONFIDENCE, 12):
        outcome = "better" if one.difference < 0 else "worse"
    else:
        outcome = "not distinguishable" if alike or one.detectable <= effect else "too few seeds"
    settled = outcome if outcome in ("better", "worse") or (outcome == "not distinguishable" and alike) else ""
    return replace(one, p_adjusted=p_adjusted, outcome=outcome, settled=settled)


def detectable(one: Spread, share: float = 1.0, tried: int = 1) -> float:
    """The true difference that a look with these variances finds with probability `POWER`."""
    error = math.sqrt(one.seed_variance + one.item_variance)
    if not error:
        return 0.0
    level = (1 - CONFIDENCE) * share / tried
    # The noncentral t of the seeds' degrees of freedom; with many of them it is the normal approximation.
    from scipy.special import nctdtr

    reach, low, high = one.half_width(level) / error, 0.0, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - nctdtr(one.seeds - 1, middle, reach) < POWER else (low, middle)
    return high * error


@dataclass(frozen=True)
class Noise:
    """The noise floor: results of the same recipe under several seeds, in bits per byte.

    deviation: between seeds; single: the difference between two runs that chance exceeds once in twenty.
    item_variance: of the difference of two such runs over new documents. runs: how many it is estimated from; degrees:
    of freedom of the deviation.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float
    single: float
    item_variance: float
    items: int

    @property
    def degrees(self) -> int:
        return len(self.values) - 1


def noise_of(first: Scores) -> Noise:
    """From the runs of one arm under two or more seeds; items from the mean over all pairs of runs."""
    values = first.per_byte
    seeds = len(values)
    deviation = float(values.std(ddof=1))
    pairs = [(a, b) for b in range(seeds) for a in range(b)]
    between = [
        spread(Scores(first.bits[a : a + 1], first.bytes), Scores(first.bits[b : b + 1], first.bytes)).item_variance
        for a, b in pairs
    ]
    single = _t(1 - CONFIDENCE, seeds - 1) * math.sqrt(2) * deviation
    return Noise(
        tuple(float(value) for value in values), float(values.mean()), deviation, single, float(np.mean(between)),
        first.bits.shape[1],
    )  # fmt: skip


def seeds_needed(deviation: float, noise: Noise, effect: float, tried: int = 1) -> int | None:
    """Seeds per arm that detect a true difference of `effect` with 80 % power; None: not even 64.

    deviation: of one run between seeds. Two arms are taken to be independent given the seed, which is the worst case,
    and their documents to differ as much as two runs of one arm do.
    """
    for seeds in range(2, MOST_SEEDS + 1):
        last = Spread(0.0, seeds, noise.items, 2 * deviation**2 / seeds, noise.item_variance / seeds)
        if detectable(last, shares(seeds)[seeds], tried) <= effect:
            return seeds
    return None


def deviation_range(noise: Noise, confidence: float = 0.8) -> tuple[float, float]:
    """Bounds of the true deviation (chi-square); wide with two runs, which is why they are printed."""
    from scipy.special import chdtri

    tail = (1 - confidence) / 2
    return tuple(noise.deviation * math.sqrt(noise.degrees / float(chdtri(noise.degrees, p))) for p in (tail, 1 - tail))  # type: ignore[return-value]


def _t(level: float, degrees: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 1 - level / 2)) if level > 0 else math.inf
