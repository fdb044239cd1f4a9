"""The choice under a budget: it holds the budget, trades as weighed, and is as good as the best."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.corpus.selection.choose import choose, reasons


def test_without_diversity_the_best_go_first() -> None:
    merits = {"quality": np.array([0.1, 0.9, 0.5, 0.7])}
    choice = choose(merits, np.zeros(4, np.int64), np.full(4, 10), {"quality": 1.0}, 20)
    assert choice.kept.tolist() == [False, True, False, True]
    assert reasons(choice, {"quality": 1.0}) == ["lower quality", "", "lower quality", ""]


def test_with_diversity_every_topic_gets_its_share() -> None:
    quality = np.array([0.9] * 6 + [0.6] * 6)
    topics = np.array([0] * 6 + [1] * 6)
    sizes = np.full(12, 10)
    alone = choose({"quality": quality}, topics, sizes, {"quality": 1.0}, 60)
    both = choose({"quality": quality}, topics, sizes, {"quality": 0.1, "diversity": 0.9}, 60)
    spread = choose({}, topics, sizes, {"diversity": 1.0}, 60)
    counts = [int(choice.kept[6:].sum()) for choice in (alone, both, spread)]
    assert counts[0] == 0
    assert 0 < counts[1] < 3
    assert counts[2] == 3
    weights = {"quality": 0.1, "diversity": 0.9}
    assert set(reasons(both, weights)) == {"", "lower quality", "its topic has enough"}


def test_a_new_topic_of_junk_is_worth_nothing() -> None:
    quality = np.array([0.9, 0.8, 0.7, 0.01])
    choice = choose(
        {"quality": quality}, np.array([0, 0, 0, 1]), np.full(4, 10), {"quality": 0.5, "diversity": 0.5}, 30
    )
    assert choice.kept.tolist() == [True, True, True, False]


def test_two_merits_are_weighed_against_one_another() -> None:
    merits = {"quality": np.array([1.0, 0.0]), "relevance": np.array([0.0, 1.0])}
    for weight, kept in ((0.7, [True, False]), (0.3, [False, True])):
        weights = {"quality": weight, "relevance": 1 - weight}
        assert choose(merits, np.zeros(2, np.int64), np.full(2, 5), weights, 5).kept.tolist() == kept


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0, exclude_max=True))
def test_the_budget_holds_and_the_value_is_near_the_best(seed: int, spread: float) -> None:
    chance = np.random.default_rng(seed)
    quality, topics = chance.random(9), chance.integers(0, 3, 9)
    sizes = np.full(9, 4)
    weights = {"quality": 1 - spread, "diversity": spread}
    choice = choose({"quality": quality}, topics, sizes, weights, 16)
    assert choice.kept.sum() == 4
    fair = 16 / len(set(topics.tolist())) * quality.mean()

    def value(places: list[int]) -> float:
        mass = np.bincount(topics[places], quality[places] * sizes[places], minlength=3)
        return float((1 - spread) * 4 * quality[places].sum() + spread * (fair * np.log1p(mass / fair)).sum())

    best = max(value(list(places)) for places in itertools.combinations(range(9), 4))
    assert value(np.flatnonzero(choice.kept).tolist()) >= 0.95 * best  # 1 - 1/e is what is proved


def test_a_long_text_is_passed_over_and_another_ends_the_choice() -> None:
    merits = {"quality": np.array([0.9, 0.8, 0.7, 0.1])}
    passed = choose(merits, np.zeros(4, np.int64), np.array([60, 60, 9, 30]), {"quality": 1.0}, 100)
    assert passed.kept.tolist() == [True, False, True, True]
    ended = choose(merits, np.zeros(4, np.int64), np.array([95, 9, 2, 2]), {"quality": 1.0}, 100)
    assert ended.kept.tolist() == [True, False, False, False]
    assert not choose(merits, np.zeros(4, np.int64), np.full(4, 60), {"quality": 1.0}, 10).kept.any()


def test_equal_texts_are_taken_in_order() -> None:
    choice = choose({"quality": np.full(5, 0.5)}, np.zeros(5, np.int64), np.full(5, 1), {"quality": 1.0}, 3)
    assert choice.kept.tolist() == [True, True, True, False, False]
    assert pytest.approx(3) == choice.kept.sum()


def test_a_merit_without_weight_is_as_one_that_is_not_known() -> None:
    given = {"quality": np.array([0.1, 0.9, 0.5])}, np.array([0, 0, 1]), np.full(3, 1)
    choice = choose(*given, {"quality": 0.0, "diversity": 1.0}, 2)
    assert choice.kept.tolist() == choose({}, *given[1:], {"diversity": 1.0}, 2).kept.tolist() == [True, False, True]
