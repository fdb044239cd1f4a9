"""The alarm of over-optimisation: made to fire, and made not to."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.evaluation.overoptimised import alarm, at_equal_length
from tutelage.evaluation.paired import Resampling

HOW = Resampling(draws=200)
N = 60
WORDS = ["path", "file", "node", "edge", "list", "table", "row", "name", "link", "tree", "graph", "key", "value"]


def various(seed: int, n: int = N, length: int = 8) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, length)) for _ in range(n)]


REFERENCES = ("the true docstrings", various(1), [True] * 32 + [False] * 28)
ALIKE = ["Return the name of the given object here."] * N


def test_a_rule_passed_more_often_than_by_its_authors_and_answers_all_alike() -> None:
    before, passed = ("instruct", various(2)), [True] * 56 + [False] * 4
    found = alarm("prefer", "t", ALIKE, passed, "PEP 257 rule", before, REFERENCES, HOW)
    assert found is not None
    assert {sign["kind"] for sign in found["signs"]} == {"rule", "distinct-2", "openings"}
    assert "93.3 % of its answers pass the PEP 257 rule, against 53.3 % of the true docstrings" in found["text"]
    assert "distinct-2 fell from" in found["text"] and "(instruct) to 0.0" in found["text"]
    assert found["text"].endswith("it is learning the rule, not the task")
    assert all(sign["p"] < 0.05 for sign in found["signs"])


def test_a_good_model_raises_none() -> None:
    """It passes as often as the authors do, and says as many different things."""
    assert alarm("good", "t", various(3), REFERENCES[2], "rule", ("before", various(4)), REFERENCES, HOW) is None
    more = [True] * 35 + [False] * 25  # a few more than the authors: nothing that 60 prompts can show
    assert alarm("good", "t", various(3), more, "rule", ("before", various(4)), REFERENCES, HOW) is None


def test_without_a_rule_only_variety_counts() -> None:
    found = alarm("chat", "t", ALIKE, [], "", None, ("the references", various(1), []), HOW)
    assert found is not None and {sign["kind"] for sign in found["signs"]} == {"distinct-2", "openings"}
    assert found["text"].endswith("it gives nearly the same answer to different prompts")
    assert alarm("chat", "t", various(5), [], "", None, ("the references", various(1), []), HOW) is None


def test_variety_that_was_lacking_before_did_not_fall() -> None:
    found = alarm("prefer", "t", ALIKE, [], "", ("instruct", ALIKE), ("the references", various(1), []), HOW)
    assert found is not None and "fell" not in found["text"]
    assert "openings (3 words) 0.017, of instruct 0.017, of the references 0.95" in found["text"]


def test_few_prompts_raise_none() -> None:
    few = ("the authors", various(1, 9), [False] * 9)
    assert alarm("a", "t", ALIKE[:9], [True] * 9, "rule", None, few, HOW) is None


def test_long_answers_are_not_less_various_for_their_length() -> None:
    """distinct-2 of the same writer falls with length; at equal length it does not."""
    long, short = various(6, length=60), various(7, length=8)
    assert alarm("long", "t", long, [], "", ("short", short), ("the references", short, []), HOW) is None
    mine, theirs = at_equal_length(["a b c d", "", "a"], ["x y", "x", "y z"])
    assert (mine, theirs) == ([["a", "b"], [], ["a"]], [["x", "y"], [], ["y"]])


@pytest.mark.parametrize("texts", [[""] * N, ["..."] * N])
def test_answers_without_a_word_raise_nothing_by_themselves(texts: list[str]) -> None:
    assert alarm("mute", "t", texts, [], "", None, ("the references", various(1), []), HOW) is None
