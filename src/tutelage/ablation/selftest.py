"""The self-test of the bench: arms of known truth through the functions that judge real ones.

Simulated runs have the noise that was measured: between seeds, between documents of a run, and lengths of documents as
they are. Equal arms must not be called better more often than once in twenty; a planted effect must be found in four
trials of five with the number of seeds that the bench itself says it needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tutelage.ablation.judge import Noise, Scores, noise_of, paired, seeds_needed

PAIRS = 200
_BYTES, _ITEMS = 400.0, 100


@dataclass(frozen=True)
class Known:
    """The noise that is simulated, relative to the mean: of whole runs between seeds, and of a document in a difference
    of two runs (which is part of the former).

    Default: measured on the Python documentation with a model of 0.2M parameters (docs/ablation.md).
    """

    seed: float = 0.002
    document: float = 0.02
    sizes: tuple[float, ...] = ()

    @classmethod
    def of(cls, noise: Noise, sizes: tuple[float, ...]) -> Known:
        """From a measured noise floor."""
        total, squares = sum(sizes), sum(size * size for size in sizes)
        document = math.sqrt(noise.item_variance * total**2 / max(squares, 1e-9)) if sizes else 0.0
        return cls(noise.deviation / noise.mean, document / noise.mean, sizes)


@dataclass(frozen=True)
class Check:
    """One simulated share and what it may be."""

    name: str
    found: float
    limit: float
    passed: bool
    text: str

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def self_test(known: Known | None = None, effect: float = 0.01, seeds: int = 3, pairs: int = PAIRS) -> Iterator[Check]:
    """False winners among equals with `seeds` seeds, and the planted effect with as many seeds as it needs."""
    known = known or Known()
    alike = [_trial(known, 0.0, seeds, effect, at) for at in range(pairs)]
    better = sum(outcome == "better" for outcome in alike) / pairs
    either = sum(outcome in ("better", "worse") for outcome in alike) / pairs
    text = (
        f"{pairs} pairs of equal arms, {seeds} seeds: {better:.1%} called better (at most 5 %), "
        f"{either:.1%} better or worse"
    )
    yield Check("equal arms", better, 0.05, better <= 0.05, text)
    needed = _needed(known, effect)
    if needed is None:
        yield Check(
            "planted effect",
            0.0,
            0.8,
            False,
            f"an effect of {effect:.1%} cannot be found with 64 seeds at this noise level",
        )
        return
    found = sum(_trial(known, -effect, needed, effect, pairs + at) == "better" for at in range(pairs)) / pairs
    text = f"{pairs} planted effects of {effect:.1%}, {needed} seeds as stated: {found:.1%} found (at least 80 %)"
    yield Check("planted effect", found, 0.8, found >= 0.8, text)
    wrong = sum(_trial(known, effect, needed, effect, 2 * pairs + at) == "better" for at in range(pairs)) / pairs
    text = f"{pairs} planted losses of {effect:.1%}: {wrong:.1%} called better"
    yield Check("planted loss", wrong, 0.05, wrong <= 0.05, text)


def _sizes(known: Known) -> np.ndarray[Any, np.dtype[np.float64]]:
    if known.sizes:
        return np.array(known.sizes, dtype=np.float64)
    return np.random.default_rng(7).lognormal(0, 0.7, _ITEMS) * _BYTES


def _needed(known: Known, effect: float) -> int | None:
    """By the true noise, as a bench that knew it well would say."""
    sizes = _sizes(known)
    of_items = known.document**2 * _unevenness(known)
    deviation = max(known.seed, math.sqrt(of_items / 2))
    return seeds_needed(deviation, Noise((1.0, 1.0), 1.0, deviation, 0.0, of_items, len(sizes)), effect)


def _unevenness(known: Known) -> float:
    """One over the number of documents of equal length that these are worth."""
    sizes = _sizes(known)
    return float((sizes**2).sum()) / float(sizes.sum()) ** 2


def _runs(known: Known, mean: float, seeds: int, chance: np.random.Generator) -> Scores:
    sizes = _sizes(known)
    of_items = known.document**2 / 2 * _unevenness(known)
    rest = math.sqrt(max(0.0, known.seed**2 - of_items))
    runs = (
        mean + chance.normal(0, rest, (seeds, 1)) + chance.normal(0, known.document / math.sqrt(2), (seeds, len(sizes)))
    )
    return Scores(runs * sizes, sizes)


def _trial(known: Known, effect: float, seeds: int, matters: float, number: int) -> str:
    """The outcome of one simulated pair, with a look after each seed, stopping where it is settled."""
    chance = np.random.default_rng([3, number])
    first, other = _runs(known, 1.0, seeds, chance), _runs(known, 1.0 + effect, seeds, chance)
    for number_of_seeds in range(2, seeds + 1):
        base = first.of(number_of_seeds)
        one = paired(other.of(number_of_seeds), base, seeds, matters * float(base.per_byte.mean()))
        if one.settled:
            break
    return one.outcome


def simulated_noise(known: Known, seeds: int = 3) -> Noise:
    """A noise floor as a bench would measure it on simulated runs; for tests."""
    return noise_of(_runs(known, 1.0, seeds, np.random.default_rng(1)))
