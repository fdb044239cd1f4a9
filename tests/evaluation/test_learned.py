"""Did it learn anything? The line of a step, from its paired comparisons alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.learned import learned, with_cautions
from tutelage.evaluation.likelihood import (
    LIKELIER,
    LOSS,
    MARGIN,
    HeldoutRows,
    Scored,
    heldout_rows,
    likelihood_figures,
    score_rows,
)
from tutelage.evaluation.paired import Resampling, compare_all
from tutelage.evaluation.spec import Subject
from tutelage.store.events import EventLog
from tutelage.store.jsonl import write_json_lines as write_lines

CONFIG = EvaluateConfig(bootstrap=200)
CHAT = Subject(name="chat", makes="chat model", parent="base", heldout="answers")
BETTER = Subject(name="better", makes="chat model", parent="chat", heldout="pairs")


def scored(nats: Any, tokens: Any, margin: Any = None) -> Scored:
    nats, tokens = np.asarray(nats, float), np.asarray(tokens, float)
    if margin is None:
        return Scored(-nats * tokens, tokens)
    return Scored(-nats * tokens, tokens, (-nats - np.asarray(margin, float)) * tokens, tokens)


def answers(before: Any, after: Any, tokens: Any = None) -> dict[str, Any]:
    n = len(before)
    tokens = np.full(n, 10) if tokens is None else tokens
    one = HeldoutRows("chat", "answers", ("base", "chat"), [{}] * n)
    figures, comparisons = likelihood_figures(
        one, {"base": scored(before, tokens), "chat": scored(after, tokens)}, CONFIG, 1
    )
    (line,) = learned([CHAT], figures, comparisons, [], 0.95)
    return {**line, "figures": figures, "comparisons": comparisons}


def pairs(before: Any, after: Any) -> dict[str, Any]:
    n = len(before)
    one = HeldoutRows("better", "pairs", ("chat", "better"), [{}] * n)
    tokens, nats = np.full(n, 10), np.full(n, 1.0)
    figures, comparisons = likelihood_figures(
        one, {"chat": scored(nats, tokens, before), "better": scored(nats, tokens, after)}, CONFIG, 1
    )
    (line,) = learned([BETTER], figures, comparisons, [], 0.95)
    return {**line, "figures": figures, "comparisons": comparisons}


DRAW = np.random.default_rng(0)
NATS = DRAW.uniform(1, 3, 60)


def test_a_fall_of_the_loss_on_the_same_rows_is_learning() -> None:
    line = answers(NATS, NATS - 0.2 + DRAW.normal(0, 0.1, 60))
    assert (
        line["found"] == "learned" and line["low"] < line["difference"] < line["high"] < 0 < line["was"] - line["now"]
    )
    assert line["text"].startswith("chat learned something: answer loss ") and "60 held-out rows" in line["text"]


def test_exactly_the_same_model_learned_nothing_and_is_told_so() -> None:
    line = answers(NATS, NATS)
    assert line["found"] == "no difference" and line["difference"] == line["low"] == line["high"] == 0
    assert line["text"].startswith("chat shows no measurable difference: no row differs")


def test_noise_is_no_difference_and_harm_is_said() -> None:
    assert answers(NATS, NATS + DRAW.normal(0, 0.3, 60))["found"] == "no difference"
    worse = answers(NATS, NATS + 0.3)
    assert worse["found"] == "got worse" and worse["text"].startswith("chat got worse")


@pytest.mark.parametrize("n", [1, 2, 9])
def test_few_rows_never_say_better(n: int) -> None:
    line = answers(NATS[:n], NATS[:n] - 0.5)
    assert line["found"] == "too few rows" and "too few rows to say whether chat learned anything" in line["text"]
    assert "learned something" not in line["text"]
    if n == 1:
        assert "1 held-out row" in line["text"] and "too few for an interval" in line["text"]


def test_the_loss_is_per_token_of_all_rows_not_a_mean_of_rows() -> None:
    line = answers([1.0] * 20, [3.0] * 10 + [1.0] * 10, np.array([90] * 10 + [10] * 10))
    assert line["now"] == pytest.approx((3 * 900 + 100) / 1000)


def test_pairs_are_judged_by_which_answer_is_likelier_then_by_how_much() -> None:
    before = DRAW.normal(-0.5, 0.3, 80)
    turned = pairs(before, before + 1.5)
    assert (turned["found"], turned["measure"]) == ("learned", LIKELIER)
    wider = pairs(np.abs(before) + 0.1, np.abs(before) + 0.6)  # right before, and surer now
    assert (wider["found"], wider["measure"]) == ("learned", MARGIN)
    assert "likelihood accuracy is not resolved" in wider["text"]
    still = pairs(before, before)
    assert still["found"] == "no difference" and still["measure"] == LIKELIER
    rows = {row["who"]: row["value"] for figure in still["figures"] if figure["measure"] == LIKELIER
            for row in figure["rows"]}  # fmt: skip
    assert rows["chat"] == rows["better"] == pytest.approx(float((before > 0).mean()), abs=1e-6)


def test_the_figure_before_is_that_of_the_same_rows() -> None:
    """The model before has a loss of its own on other rows, which is not the one that counts."""
    own = answers(NATS, NATS - 0.5)
    later = pairs(np.full(60, -0.1), np.full(60, 0.2))
    figures, comparisons = (own[key] + later[key] for key in ("figures", "comparisons"))
    lines = learned([CHAT, BETTER], figures, comparisons, [], 0.95)
    assert [line["before"] for line in lines] == ["base", "chat"]
    assert lines[1]["was"] == 0 and lines[1]["now"] == 1


def test_a_model_whose_beginning_was_not_measured_is_not_compared() -> None:
    one = HeldoutRows("chat", "answers", ("chat",), [{}] * 20)
    figures, comparisons = likelihood_figures(one, {"chat": scored(NATS[:20], np.full(20, 5))}, CONFIG, 1)
    (line,) = learned([CHAT], figures, comparisons, [], 0.95)
    assert line["found"] == "not compared" and "was not measured" in line["text"]


def test_a_step_of_another_kind_is_told_by_the_first_measure_that_it_is_compared_in() -> None:
    """A method that somebody adds: its rows are measured by its own room."""
    solved = {"before": [False] * 40 + [True] * 10, "after": [True] * 30 + [False] * 20}
    (one,) = compare_all("solved", solved, [("after", "before")], Resampling(draws=200), shares=True)
    rows = [{"who": who, "value": sum(hits) / 50} for who, hits in solved.items()]
    subject = Subject.model_construct(name="after", makes="chat model", parent="before", heldout="problems", share=1.0)
    (line,) = learned([subject], [{"measure": "solved", "unit": "share", "rows": rows}], [one], [], 0.95)
    assert line["found"] == "learned" and "solved 20.0 % before, 60.0 % after" in line["text"]


def test_better_by_a_rule_is_said_with_the_alarm_and_other_measures_are_left_alone() -> None:
    line = pairs(np.full(60, -0.1), np.full(60, 0.2))
    found = {"who": "better", "task": "t", "signs": [], "text": "better: 88 % pass, of the authors 54 %"}
    with_cautions(line["comparisons"], [found])  # type: ignore[list-item]
    said = {one["measure"]: one for one in line["comparisons"]}
    assert said[LIKELIER]["caution"] == found["text"] and "over-optimised" in said[LIKELIER]["verdict"]
    assert "caution" not in said[LOSS]
    (again,) = learned([BETTER], line["figures"], line["comparisons"], [found], 0.95)  # type: ignore[list-item]
    assert again["alarm"] == found["text"]


class Counting:
    """A model to whom every character costs a nat, and a word of the rejected answer two."""

    def score_chat(self, conversations: list[Any], weights: list[Any], tools: list[Any]) -> list[tuple[float, float]]:
        found = []
        for turns, each in zip(conversations, weights, strict=True):
            text = "".join(turn.content for turn, weight in zip(turns, each, strict=True)
                           if weight and turn.role == "assistant")  # fmt: skip
            found.append((-float(len(text)) * (2 if "bad" in text else 1), float(len(text))))
        return found


def test_every_learned_answer_of_a_row_counts_and_no_other(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "not me", "weight": 0},
        {"role": "user", "content": "b"}, {"role": "assistant", "content": "four"},
    ]  # fmt: skip
    write_lines(tmp_path / "chat" / "data" / "train.jsonl", [])
    write_lines(
        tmp_path / "chat" / "data" / "heldout.jsonl",
        [{"id": "1", "messages": turns}, {"id": "2", "prompt": "p", "response": "fives"}],
    )
    write_lines(tmp_path / "better" / "data" / "train.jsonl", [])
    pair = {"id": "3", "prompt": "p", "chosen": "good!", "rejected": "bad"}
    write_lines(tmp_path / "better" / "data" / "heldout.jsonl", [pair])
    models = {name: tmp_path / name for name in ("base", "chat", "better")}
    found = heldout_rows([CHAT, BETTER], models, [], CONFIG)
    assert [(one.name, one.kind, one.who) for one in found] == [
        ("chat", "answers", ("base", "chat")), ("better", "pairs", ("chat", "better"))
    ]  # fmt: skip
    lm: Any = Counting()
    chat, better = (score_rows(lm, "who", one, CONFIG, EventLog()) for one in found)
    assert sorted(chat.tokens) == [4, 5] and float(chat.logprobs.sum()) == -9
    assert better.tokens.tolist() == [5] and better.margin.tolist() == [1.0]
    assert [one.name for one in heldout_rows([CHAT, BETTER], models, ["better"], CONFIG)] == ["better"]


def test_answers_that_are_judged_one_by_one_are_no_pairs(tmp_path: Path) -> None:
    write_lines(tmp_path / "better" / "data" / "train.jsonl", [])
    judged = {"id": "1", "prompt": "p", "completion": "c", "label": True}
    write_lines(tmp_path / "better" / "data" / "heldout.jsonl", [judged])
    assert heldout_rows([BETTER], {"better": tmp_path / "better"}, [], CONFIG) == []
