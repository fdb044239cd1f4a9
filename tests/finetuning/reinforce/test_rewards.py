from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.finetuning.reinforce import patterns
from tutelage.finetuning.reinforce.config import ReinforceConfig
from tutelage.finetuning.reinforce.patterns import matches
from tutelage.finetuning.reinforce.rewards import (
    Answer,
    RewardConfig,
    check_gold,
    contains,
    default_rewards,
    final_number,
    gold_of,
    overlong,
    same_number,
    scores,
    total,
)
from tutelage.store.errors import ConfigError, InputError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("She has 3 + 4 = 7 apples.", "7"),
        ("Natalia sold 48/2 = <<48/2=24>>24 clips.\n#### 72", "72"),
        ("#### 1,234", "1234"),
        ("The answer is $1,234.50.", "1234.50"),
        ("the answer is: -3", "-3"),
        ("Answer: −3", "-3"),
        ("so \\boxed{\\frac... no, 1/2}", "0.5"),
        ("<answer> 12 </answer> and then 99", "12"),
        ("The answer is 5. No, wait: the answer is 6.", "6"),
        ("10-12", "12"),
        ("x = 7-3 = 4", "4"),
        ("5%", "5"),
        ("1e3", "1000"),
        (".5", "0.5"),
        ("7.", "7"),
        ("1,2", "2"),
        ("no number", None),
        ("", None),
        ("1/0", None),
        ("9" * 60, None),
    ],
)
def test_final_number(text, number):
    assert final_number(text) == (None if number is None else Decimal(number))


@given(st.text(max_size=300))
def test_any_text_may_be_scored(text):
    rewards = {rule: RewardConfig(rule=rule) for rule in ("exact", "numeric", "contains", "choice", "ends")}
    rewards["format"] = RewardConfig(rule="format", parts=("a", "b"))
    rewards["length"] = RewardConfig(rule="length", limit=8, cushion=4)
    found = scores(rewards, [Answer(text, 5, True)], [{"answer": "4 B"}])
    assert all(-1 <= value <= 1 for (value,) in found.values())


@given(st.integers(-(10**12), 10**12))
def test_a_number_is_read_however_it_is_written(number):
    for text in (str(number), f"{number:,}", f"so it is {number:,}.", f"#### {number}", f"{number}.0"):
        assert same_number(text, str(number))
    assert not same_number(str(number + 1), str(number))


def test_tolerance_is_relative_above_one():
    assert same_number("1000.4", "1000", 1e-3) and not same_number("1002", "1000", 1e-3)
    assert same_number("0.0005", "0", 1e-3)


def score(rule, text, gold="", **settings):
    answer = Answer(text, settings.pop("tokens", 3), settings.pop("ended", True))
    ((value,),) = scores({"r": RewardConfig(rule=rule, **settings)}, [answer], [{"answer": gold}]).values()
    return value


def test_rules():
    assert score("exact", " Paris\n", "paris") == 1 and score("exact", "Paris.", "Paris") == 0
    assert score("contains", "It is Paris, of course", "paris") == 1 and score("contains", "Parisian", "Paris") == 0
    assert score("choice", "I think (B) and not A... so B", "B") == 1 and score("choice", "A Bee", "B") == 0
    assert score("choice", "Answer: C because A is wrong", "C") == 1
    assert score("regex", "abc 12", pattern=r"\d+$") == 1 and score("regex", "abc", pattern=r"\d+$") == 0
    parts = ("<think>", "</think>", "<answer>", "</answer>")
    assert score("format", "<think>x</think><answer>y</answer>", parts=parts) == 1
    assert score("format", "<answer>y</answer><think>x</think>", parts=parts) == 0
    assert score("format", "<think><think>x</think><answer>y</answer>", parts=parts) == 0
    assert score("ends", "x", ended=False) == 0
    assert not contains("x", "")


def test_length_costs_what_the_paper_says():
    """Yu et al. 2025, eq. 13: 0 up to limit - cushion, then evenly down to -1."""
    assert [overlong(tokens, 20, 4) for tokens in (1, 16, 17, 18, 20, 99)] == [0, 0, -0.25, -0.5, -1, -1]
    assert [overlong(tokens, 20, 0) for tokens in (20, 21)] == [0, -1]


def test_parts_are_added_by_their_weights():
    rewards = {"a": RewardConfig(rule="exact"), "b": RewardConfig(rule="ends", weight=0.25)}
    found = scores(rewards, [Answer("x", 1, True), Answer("y", 1, False)], [{"answer": "x"}] * 2)
    assert found == {"a": [1.0, 0.0], "b": [1.0, 0.0]} and total(rewards, found) == [1.25, 0.0]


def test_a_task_s_own_rule_is_a_reward():
    rows = [{"response": "1 2 3"}, {"response": "1 2 3"}]
    found = scores(
        {"r": RewardConfig(rule="task")}, [Answer("1 2 3", 1, True), Answer("1 3 2", 1, True)], rows, "sorting"
    )
    assert found == {"r": [1.0, 0.0]}


def test_what_is_right_is_found_or_missed_with_a_name():
    assert gold_of({"solution": "x", "answer": 7}, "") == "7"
    assert gold_of({"answer": 0}, "") == "0"
    with pytest.raises(InputError, match="no 'sol'"):
        gold_of({"id": "1", "prompt": "p", "solution": "x"}, "sol")
    with pytest.raises(InputError, match="no gold answer"):
        gold_of({"id": "1", "prompt": "p", "level": "3"}, "")
    with pytest.raises(InputError, match="contains no number"):
        check_gold({"r": RewardConfig(rule="numeric")}, [{"answer": "four"}])


def test_rewards_follow_from_the_rows_where_none_are_named():
    assert default_rewards([{"answer": "Work.\n#### 7"}, {"answer": 8}], None)["correct"].rule == "numeric"
    assert default_rewards([{"answer": "7"}, {"answer": "Paris"}], None)["correct"].rule == "exact"
    assert default_rewards([{"answer": "In 1789 the whole of the French nation rose"}], None)["correct"].rule == "exact"
    assert default_rewards([{"answer": "1 3 4"}], None)["correct"].rule == "exact"
    assert default_rewards([{"answer": "$7"}, {"answer": "so \\boxed{12}"}], None)["correct"].rule == "numeric"
    assert default_rewards([{"answer": "7"}], "sorting")["rule"].rule == "task"


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ({"r": {"rule": "regex"}}, "rule regex needs 'pattern'"),
        ({"r": {"rule": "exact", "pattern": "a"}}, "rule exact does not use 'pattern'"),
        ({"r": {"rule": "regex", "pattern": "(a"}}, "rewards.r.pattern"),
        ({"r": {"rule": "length"}}, "needs 'limit'"),
        ({"r": {"rule": "task"}}, "needs a task with a grading rule"),
        ({"r": {"rule": "exat"}}, "exact"),
    ],
)
def test_wrong_settings_are_named(rewards, message):
    with pytest.raises(ConfigError, match=message):
        ReinforceConfig.parse({"data": "x.jsonl", "rewards": rewards})


def test_a_pattern_that_does_not_end_is_an_error_and_the_next_one_works(monkeypatch):
    monkeypatch.setattr(patterns, "SECONDS", 0.4)
    with pytest.raises(InputError, match="takes longer than"):
        matches(r"(a+)+b", ["a" * 60])
    assert matches("b", ["ab", "a\n", "\ud800b"]) == [True, False, True]
    assert matches("b", []) == []
