"""Repetition loops and answers that never end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluation.endings import ENDS, LOOPS, Ending, ending_figures, loop_of
from tutelage.evaluation.paired import Resampling

# As a 135M model wrote them, cut at the limit.
LOOPING = [
    "A: abundant\n\nA: abundant\n\nA: abundant\n\nA: abundant\n\nA:",
    "She is going to the market.\nShe is going to the market.\nShe is going to the market.\nShe is",
    "I am happy, and I am happy, and I am happy, and I am happy, and",
    "Cooking, Food, Food\nCooking, Food, Food\nCooking, Food, Food",
    "(6) to eat (7) to drink (8) to eat (9) to drink (10) to eat (11) to drink (12) to",
    "我喜欢吃苹果。我喜欢吃苹果。我喜欢吃苹果。",
    "the the the the",
]
SOUND = [
    "",
    "word",
    "Return the absolute path of a file.",
    "He was very, very, very sorry.",  # three times, but not most of it
    "It decided that could only be better or how we always b...",
    "The answer is: 1.\n\nThe answer is: 1.",  # twice
    "2, 3, 5, 7, 11, 13, 17, 19, 23",  # a list of numbers says something new each time
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "Step 1: mix the flour. Step 2: add two eggs. Step 3: bake it for an hour.",
]


@pytest.mark.parametrize("text", LOOPING)
def test_a_loop_is_found(text: str) -> None:
    found = loop_of(text)
    assert found is not None and found.repeats >= 3 and found.share >= 0.4


@pytest.mark.parametrize("text", SOUND)
def test_an_answer_that_says_something_is_none(text: str) -> None:
    assert loop_of(text) is None


def test_the_loop_must_be_the_end_and_much_of_the_answer() -> None:
    run = "go on and "
    assert loop_of(run * 5 + "then it came to an end after all") is None
    lead = " ".join(f"w{letter}" for letter in "abcdefghijklmnopqrst")
    assert loop_of(f"{lead} {run * 4}") is None  # 12 of 32 units, 38 %
    found = loop_of(f"{lead} {run * 5}")  # 15 of 35
    assert found is not None and (found.period, found.repeats, round(found.share, 2)) == (3, 5.0, 0.43)


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5), st.integers(3, 6),
       st.lists(st.sampled_from(["x", "y", "z"]), max_size=6))  # fmt: skip
def test_whatever_is_said_three_times_at_the_end_is_a_loop(run: list[str], times: int, before: list[str]) -> None:
    text = " ".join([*before, *(run * times)])
    share = len(run) * times / (len(run) * times + len(before))
    found = loop_of(text)
    assert (found is not None) == (share >= 0.4) or (found is not None and found.share >= 0.4)
    if found is not None:
        units = text.split()
        tail = units[-round(found.share * len(units)) :]
        assert all(a == b for a, b in zip(tail, tail[found.period :], strict=False))


def test_shares_have_wilson_intervals_beside_the_references_and_the_model_before() -> None:
    n = 40
    looping = Ending.of(["no no no no"] * 10 + ["It is so."] * 30, [False] * 12 + [True] * 28)
    before = Ending.of(["It is so."] * n, [True] * n)
    references = ("the references", Ending.of(["It is so."] * n, [True] * 39 + [False]))
    greedy = {"before": before, "after": looping}
    sampled = {who: Ending(one.loops[:20], (one.ended or [])[:20]) for who, one in greedy.items()}
    figures, comparisons = ending_figures("t", greedy, sampled, references, [("after", "before")], 48, Resampling())
    rows = {(figure["measure"], row["who"]): row for figure in figures for row in figure["rows"]}
    assert rows[LOOPS, "after"]["value"] == 0.25
    assert (rows[LOOPS, "after"]["low"], rows[LOOPS, "after"]["high"]) == pytest.approx((0.141875, 0.401934), abs=1e-4)
    assert rows[LOOPS, "before"]["value"] == rows[LOOPS, "the references"]["value"] == 0
    assert rows[LOOPS, "before"]["high"] == pytest.approx(0.0876, abs=1e-3)
    assert rows[ENDS, "after"]["value"] == 0.7 and rows[ENDS, "the references"]["value"] == 39 / 40
    assert rows[ENDS, "the references"]["kind"] == "reference"
    assert rows[f"{LOOPS}, sampled", "after"]["value"] == 0.5 and rows[f"{ENDS}, sampled", "after"]["n"] == 20
    outcomes = {(one["measure"], one["outcome"]) for one in comparisons}
    assert (LOOPS, "worse") in outcomes and (ENDS, "worse") in outcomes
    assert any("before is better than after by 25.0 points" in one["verdict"] for one in comparisons)
