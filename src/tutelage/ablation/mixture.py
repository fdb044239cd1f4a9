"""Which mixture of the sources is best? Small runs on random mixtures, a regression, and a test of its prediction.

As RegMix (Liu et al. 2024): mixtures are drawn around the sizes of the sources, each trains a small model (the recipe
itself, one seed), and held-out bits per byte are regressed on the shares. Here the regression is a quadratic one with
a ridge (which needs only about thirty points), and nothing is proposed unless it predicts runs that it has not seen.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.ablation.arms import Arm
from tutelage.ablation.runs import Runner
from tutelage.recipe.config import Recipe
from tutelage.store.errors import InputError

Floats = NDArray[np.float64]
FEWEST = 12  # runs that a regression is fitted to
_STRENGTHS = (2.0, 40.0)  # of the Dirichlet distribution, times the natural shares; drawn evenly on a log scale
_LEAST = 0.005  # share of a source
_CANDIDATES, _BEST = 20_000, 100
_NEAR = 0.75  # of the runs have another one this near
_FOLDS = 8
_SEED = 0


@dataclass(frozen=True)
class Predicted:
    """How well runs that were left out of the fit are predicted: the rank correlation with its 95 % interval."""

    correlation: float
    low: float
    high: float
    runs: int

    @property
    def holds(self) -> bool:
        return self.low > 0


@dataclass(frozen=True)
class Proposal:
    """names: sources. natural: their shares by size. shares: of the best mixture. expected: its bits per byte by the
    regression; expected_natural: those of the natural mixture. tried [runs, sources] and bits [runs]: all runs, in
    order."""

    names: tuple[str, ...]
    natural: Floats
    shares: Floats
    expected: float
    expected_natural: float
    predicted: Predicted
    tried: Floats
    bits: Floats


def draw(natural: Floats, count: int, seed: int = _SEED) -> Floats:
    """Mixtures [count, sources]: the natural one first, then others around it, near and far."""
    chance = np.random.default_rng(seed)
    strengths = np.exp(chance.uniform(math.log(_STRENGTHS[0]), math.log(_STRENGTHS[1]), count))
    drawn = np.stack([chance.dirichlet(np.maximum(strength * natural, 0.05)) for strength in strengths])
    drawn = np.maximum(drawn, _LEAST)
    drawn[0] = natural
    return np.asarray(drawn / drawn.sum(axis=1, keepdims=True))


def arm_of(first: Arm, by: str, sizes: Mapping[str, int], shares: Floats, name: str) -> Arm:
    """The recipe with these shares of the sources: weights against their size alone."""
    data = copy.deepcopy(first.recipe.plain())
    total = sum(sizes.values())
    weights = {
        source: round(float(share) * total / size, 5)
        for (source, size), share in zip(sizes.items(), shares, strict=True)
    }
    data["pretrain"]["mix"] = {**(data["pretrain"].get("mix") or {}), "by": by, "weights": weights, "temperature": 1.0}
    sets = (
        f"pretrain.mix.by={by}",
        *(f"pretrain.mix.weights.{source}={weight:g}" for source, weight in weights.items()),
    )
    return Arm(name, sets, Recipe.parse(data))


def search(
    first: Arm, by: str, sizes: Mapping[str, int], count: int, runner: Runner, tell: Callable[[str], None]
) -> Proposal:
    """Train on `count` mixtures and propose one. sizes: bytes of each source.

    Raises InputError for too few runs or sources, and the errors of a run; if called again, finished runs are not
    repeated.
    """
    if count < FEWEST:
        raise InputError(
            f"{count} mixtures are too few to fit a regression", hint=f"--search {FEWEST} or more; 32 are usual"
        )
    if len(sizes) < 2:
        raise InputError(f"the corpus has one {by} only, so there is nothing to mix", hint="--by source")
    size = np.array(list(sizes.values()), np.float64)
    natural = size / size.sum()
    tried, bits = [], []
    for number, shares in enumerate(draw(natural, count), 1):
        model = runner.model(arm_of(first, by, sizes, shares, f"mixture-{number}"), 0)
        passes = model.metrics["source_epochs"]
        drawn = np.array([passes.get(name, 0.0) for name in sizes]) * size  # the actual shares: a source may be capped
        tried.append(drawn / drawn.sum())
        bits.append(float(model.metrics["heldout_bits_per_byte"]))
        said = ", ".join(
            f"{name or 'without a name'} {share:.0%}" for name, share in zip(sizes, tried[-1], strict=True)
        )
        tell(f"{number} of {count}: {bits[-1]:.4f} bits per byte ({said})")
    return propose(tuple(sizes), natural, np.stack(tried), np.array(bits))


def propose(names: tuple[str, ...], natural: Floats, tried: Floats, bits: Floats) -> Proposal:
    """The mean of the hundred mixtures of twenty thousand that the regression predicts as best, as in RegMix; only of
    those as near to a run as most runs are to another, since further away it extrapolates."""
    candidates = np.concatenate([tried, draw(natural, _CANDIDATES, _SEED + 1)])
    between = distances(tried, tried)
    np.fill_diagonal(between, np.inf)
    candidates = candidates[distances(candidates, tried).min(axis=1) <= np.quantile(between.min(axis=1), _NEAR)]
    fitted = _fit(tried, bits)
    best = candidates[np.argsort(fitted(candidates), kind="stable")[:_BEST]].mean(axis=0)
    expected, usual = fitted(np.stack([best, natural])).tolist()
    return Proposal(names, natural, best, expected, usual, predicted(tried, bits), tried, bits)


def distances(one: Floats, other: Floats) -> Floats:
    """Between mixtures [n, m]: half the sum of the differences of their shares, 0 to 1."""
    return np.asarray(np.abs(one[:, None] - other[None]).sum(axis=2) / 2)


def predicted(tried: Floats, bits: Floats) -> Predicted:
    """By cross-validation: each run is predicted by a fit that has not seen it. The interval is Fisher's, for ranks
    (Bonett & Wright 2000)."""
    from scipy.stats import spearmanr

    fold = np.random.default_rng(_SEED).permutation(np.arange(len(bits)) % _FOLDS)
    guessed = np.empty(len(bits))
    for number in range(_FOLDS):
        fitted = _fit(tried[fold != number], bits[fold != number])
        guessed[fold == number] = fitted(tried[fold == number])
    value = float(spearmanr(guessed, bits).statistic) if np.ptp(guessed) and np.ptp(bits) else 0.0
    z = math.atanh(min(max(value, -0.999), 0.999))
    half = 1.96 * math.sqrt((1 + value**2 / 2) / (len(bits) - 3))
    return Predicted(value, math.tanh(z - half), math.tanh(z + half), len(bits))


def _fit(tried: Floats, bits: Floats) -> Callable[[Floats], Floats]:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    ridge = RidgeCV(np.logspace(-4, 3, 22))  # its strength by leave-one-out
    model = make_pipeline(PolynomialFeatures(2, include_bias=False), StandardScaler(), ridge)
    model.fit(np.sqrt(tried), bits)  # square roots: the first little of an absent source has the largest effect
    return lambda shares: np.asarray(model.predict(np.sqrt(shares)), np.float64)


def lines(found: Proposal) -> list[str]:
    """The findings; the check first."""
    check = found.predicted
    said = f"{check.correlation:+.2f} [{check.low:+.2f}, {check.high:+.2f}]"
    if not check.holds:
        return [
            f"The regression does not predict runs it has not seen (rank correlation {said} over {check.runs} "
            "runs): no mixture is proposed. Use more mixtures (--search) or longer runs; it may also be that the "
            "mixture matters little."
        ]
    shares = ", ".join(
        f"{name or 'without a name'} {share:.1%} (by size {usual:.1%})"
        for name, share, usual in zip(found.names, found.shares, found.natural, strict=True)
    )
    return [
        f"Runs that the regression has not seen are predicted with a rank correlation of {said} ({check.runs} runs).",
        f"Predicted best: {shares}.",
        f"Expected: {found.expected:.4f} bits per byte, by size {found.expected_natural:.4f}. The runs that follow "
        "test this.",
    ]


def plain(found: Proposal) -> dict[str, Any]:
    check = found.predicted

    def named(values: Sequence[float]) -> dict[str, float]:
        return {name: round(float(value), 4) for name, value in zip(found.names, values, strict=True)}

    return {
        "shares": named(found.shares.tolist()) if check.holds else None,
        "by_size": named(found.natural.tolist()),
        "expected": round(found.expected, 4), "expected_by_size": round(found.expected_natural, 4),
        "predicted": {"rank_correlation": round(check.correlation, 3), "low": round(check.low, 3),
                     "high": round(check.high, 3), "runs": check.runs, "holds": check.holds},
        "tried": [{"shares": named(row.tolist()), "bits_per_byte": round(float(bits), 4)}
                  for row, bits in zip(found.tried, found.bits, strict=True)],
    }  # fmt: skip
