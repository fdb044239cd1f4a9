"""An arena: system strengths from pairwise outcomes (Bradley & Terry 1952; ties after Davidson 1970)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.statistics import Interval, t_reach
from tutelage.store.errors import InputError

Floats = NDArray[np.float64]
_PRIOR = 1e-3  # precision of a normal prior: keeps an unbeaten system finite with no visible effect on others
_STEPS = 200
ELO = 400 / math.log(10)


@dataclass(frozen=True)
class Game:
    """One verdict: a beats b (outcome 1), loses (0) or ties (0.5); `item` is the prompt."""

    item: str
    a: str
    b: str
    outcome: float


@dataclass(frozen=True)
class Standing:
    """A system's strength on the Elo scale (overall mean 1000) with a bootstrap interval over items.

    win_rate: the probability of beating an average opponent, ties counting half. rank_low, rank_high: interval of the
    rank.
    """

    who: str
    rating: Interval
    win_rate: float
    rank_low: int
    rank_high: int
    games: int


def standings(games: Sequence[Game], *, confidence: float = 0.95, draws: int = 400, seed: int = 0) -> list[Standing]:
    """Systems from strongest to weakest; items are resampled with all their verdicts.

    Raises InputError if the comparison graph is not connected.
    """
    names = sorted({name for game in games for name in (game.a, game.b)})
    _connected(names, games)
    items = {item: at for at, item in enumerate(dict.fromkeys(game.item for game in games))}
    place = {name: at for at, name in enumerate(names)}
    size = len(names)
    wins, ties = np.zeros((len(items), size, size)), np.zeros((len(items), size, size))
    for game in games:
        at, a, b = items[game.item], place[game.a], place[game.b]
        if game.outcome == 0.5:
            ties[at, min(a, b), max(a, b)] += 1
        elif game.outcome > 0.5:
            wins[at, a, b] += 1
        else:
            wins[at, b, a] += 1
    strength, tie = davidson(wins.sum(0), ties.sum(0))
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws if len(items) > 1 else 0):
        often = np.bincount(generator.integers(0, len(items), len(items)), minlength=len(items)).astype(float)
        drawn.append(davidson(np.tensordot(often, wins, 1), np.tensordot(often, ties, 1), strength, tie)[0])
    edges = [(1 - confidence) / 2, (1 + confidence) / 2]
    n = len(items)
    # Resamples vary less than samples, and the deviation of a few hundred draws is more precise than their quantiles.
    reach = np.std(drawn, axis=0, ddof=1) * t_reach(confidence, n) * math.sqrt(n / (n - 1)) if len(drawn) > 1 else None
    ranks = np.argsort(np.argsort(-np.array(drawn or [strength]), axis=1), axis=1) + 1
    best, worst = np.quantile(ranks, edges, axis=0, method="nearest")
    played = [sum(name in (game.a, game.b) for game in games) for name in names]

    def elo(value: float) -> float:
        return 1000 + ELO * float(value)

    found = [
        Standing(
            name,
            Interval(elo(strength[i]), None, None) if reach is None
            else Interval(*(elo(strength[i] + side * reach[i]) for side in (0, -1, 1))),
            float(np.mean([_expected(strength[i] - strength[j], tie) for j in range(size) if j != i])),
            int(best[i]), int(worst[i]), played[i],
        )
        for i, name in enumerate(names)
    ]  # fmt: skip
    return sorted(found, key=lambda one: (-one.rating.value, one.who))


def davidson(wins: Floats, ties: Floats, start: Floats | None = None, tie: float = 0.0) -> tuple[Floats, float]:
    """Log strengths [K] (their mean is 0) and the tie parameter by maximum likelihood (Davidson 1970, equation 2.4).

    wins [K, K]: how often the row beat the column; ties [K, K], each counted once. P(i beats j) is p_i, that of a tie
    tie * sqrt(p_i p_j), both over p_i + p_j + tie * sqrt(p_i p_j), with p = exp(strength). Without ties it is the
    Bradley-Terry model. A weak prior keeps an unbeaten system finite.
    """
    size = len(wins)
    drawn = ties + ties.T
    first, second = np.triu_indices(size, 1)
    won, lost, even = wins[first, second], wins[second, first], drawn[first, second]
    count, some = won + lost + even, bool(drawn.sum() > 0)
    parties = np.arange(size)
    sides = (parties == first[:, None]) * 1.0 - (parties == second[:, None])  # [pairs, K]
    theta = np.zeros(size + 1)
    if start is not None:
        theta[:size], theta[size] = start, math.log(tie) if tie > 0 else 0.0

    def shares(at: Floats) -> Floats:
        gap = sides @ at[:size] / 2
        logits = np.stack([gap, -gap, np.full(len(gap), at[size] if some else -np.inf)])
        weight = np.exp(logits - logits.max(axis=0))
        return np.asarray(weight / weight.sum(axis=0))

    for _ in range(_STEPS):  # Newton's method on a convex function with few variables
        win, lose, draw = shares(theta)
        lean = (win - lose) / 2
        slope = np.append(sides.T @ (count * lean - (won - lost) / 2), (count * draw - even).sum())
        curve = np.zeros((size + 1, size + 1))
        curve[:size, :size] = sides.T @ (sides * (count * ((win + lose) / 4 - lean**2))[:, None])
        curve[:size, size] = curve[size, :size] = sides.T @ (-count * lean * draw)
        curve[size, size] = (count * draw * (1 - draw)).sum()
        step = np.linalg.solve(curve + _PRIOR * np.eye(size + 1), slope + _PRIOR * theta)
        theta = theta - np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:
            break
    strengths = theta[:size] - theta[:size].mean()
    return strengths, float(math.exp(theta[size])) if some else 0.0


def _expected(gap: float, tie: float) -> float:
    win, lose = math.exp(gap / 2), math.exp(-gap / 2)
    return (win + tie / 2) / (win + lose + tie)


def _connected(names: Sequence[str], games: Sequence[Game]) -> None:
    group = {name: {name} for name in names}
    for game in games:
        if group[game.a] is not group[game.b]:
            group[game.a] |= group[game.b]
            for name in group[game.a]:
                group[name] = group[game.a]
    if names and len(apart := {id(one): one for one in group.values()}) > 1:
        said = "; ".join(", ".join(sorted(one)) for one in apart.values())
        raise InputError(f"these groups of systems were never compared, so they have no common ranking: {said}")
