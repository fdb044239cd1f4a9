"""Bradley-Terry and Davidson against closed forms, and intervals of ratings."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tutelage.evaluation.judging.arena import ELO, Game, davidson, standings
from tutelage.store.errors import InputError


def test_two_parties_have_closed_forms() -> None:
    strength, tie = davidson(np.array([[0.0, 30.0], [10.0, 0.0]]), np.zeros((2, 2)))
    assert strength[0] - strength[1] == pytest.approx(math.log(3), abs=1e-3)
    assert tie == 0.0
    # Davidson 1970: the ratio of strengths is wins over losses, tie = ties / sqrt(wins * losses)
    strength, tie = davidson(np.array([[0.0, 40.0], [10.0, 0.0]]), np.array([[0.0, 10.0], [0.0, 0.0]]))
    assert strength[0] - strength[1] == pytest.approx(math.log(4), abs=1e-3)
    assert tie == pytest.approx(10 / math.sqrt(400), abs=1e-3)


def test_the_fit_satisfies_the_likelihood_equations() -> None:
    """At the maximum every party's expected wins are its wins (Davidson 1970, equation 2.8)."""
    generator = np.random.default_rng(0)
    wins = np.triu(generator.integers(1, 30, (5, 5)), 1) + np.tril(generator.integers(1, 30, (5, 5)), -1)
    ties = np.triu(generator.integers(0, 9, (5, 5)), 1)
    theta, tie = davidson(wins.astype(float), ties.astype(float))
    p = np.exp(theta)
    expected, even = np.zeros(5), 0.0
    for i in range(5):
        for j in range(i):
            n = wins[i, j] + wins[j, i] + ties[j, i]
            draw = tie * math.sqrt(p[i] * p[j])
            total = p[i] + p[j] + draw
            expected[i] += n * (p[i] + draw / 2) / total
            expected[j] += n * (p[j] + draw / 2) / total
            even += n * draw / total
    had = wins.sum(1) + (ties + ties.T).sum(1) / 2
    assert expected == pytest.approx(had, abs=0.02)
    assert even == pytest.approx(ties.sum(), abs=0.02)


@pytest.mark.parity
def test_it_agrees_with_choix() -> None:
    choix = pytest.importorskip("choix")
    generator = np.random.default_rng(1)
    games = [(int(a), int(b)) for a, b in generator.integers(0, 6, (400, 2)) if a != b]
    wins = np.zeros((6, 6))
    for a, b in games:
        wins[a, b] += 1
    assert davidson(wins, np.zeros((6, 6)))[0] == pytest.approx(choix.ilsr_pairwise(6, games), abs=2e-3)


def played(seed: int, n: int, strength: dict[str, float]) -> list[Game]:
    generator = np.random.default_rng(seed)
    names = list(strength)
    return [
        Game(f"q{at}", a, b, float(generator.random() < 1 / (1 + math.exp(strength[b] - strength[a]))))
        for at in range(n) for i, a in enumerate(names) for b in names[:i]
    ]  # fmt: skip


TRUE = {"x": 0.6, "y": 0.0, "z": -0.6}


def test_ratings_are_found_again() -> None:
    games = played(1, 400, TRUE)
    found = standings(games)
    assert [one.who for one in found] == ["x", "y", "z"]
    for at, one in enumerate(found):
        assert one.rating.value == pytest.approx(1000 + ELO * TRUE[one.who], abs=30)
        assert one.rating.low < one.rating.value < one.rating.high  # type: ignore[operator]
        assert (one.rank_low, one.rank_high, one.games) == (at + 1, at + 1, 800)
    assert sum(one.win_rate for one in found) == pytest.approx(1.5, abs=0.02)
    assert found == standings(games)


def test_intervals_of_ratings_cover_the_truth() -> None:
    hits = 0
    for seed in range(60):
        for one in standings(played(seed, 50, TRUE), draws=60, seed=seed):
            hits += one.rating.low <= 1000 + ELO * TRUE[one.who] <= one.rating.high  # type: ignore[operator]
    assert 164 <= hits <= 179  # of 180


def test_equals_share_ranks() -> None:
    found = standings(played(1, 40, {"x": 0.0, "y": 0.0, "z": 0.0}))
    assert all(one.rank_low < one.rank_high for one in found)


def test_one_who_always_wins_stays_finite_and_strangers_are_refused() -> None:
    games = [Game(str(at), "a", "b", 1.0) for at in range(20)] + [Game(str(at), "b", "c", 1.0) for at in range(20)]
    assert all(math.isfinite(one.rating.value) for one in standings(games, draws=5))
    with pytest.raises(InputError, match=r"never compared.*a, b; c, d"):
        standings([Game("1", "a", "b", 1.0), Game("1", "c", "d", 0.0)])
