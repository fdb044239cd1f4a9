from __future__ import annotations

import math

import numpy as np
import pytest

from tutelage.evaluation.bench.metrics import (
    Choices,
    PerItem,
    calibration,
    choice_scores,
    figure,
    likelihood_scores,
    rolling_scores,
)
from tutelage.evaluation.bench.shortcuts import answer_only, option_baselines, worth


def item(logprobs: list[float], gold: int = 0, texts: tuple[str, ...] = ("a", "bb", "cccc"), blind=None) -> Choices:
    sizes = np.array([float(len(text)) for text in texts])
    return Choices(
        np.array(logprobs), None if blind is None else np.array(blind), sizes, sizes, sizes * 2,
        np.zeros(len(texts), bool), (gold,),
    )  # fmt: skip


def test_each_normalisation_takes_its_own_choice():
    one = item([-2.0, -3.0, -4.0], gold=2, blind=[-1.0, -1.5, -9.0])
    got = {name: float(each.values[0]) for name, each in choice_scores([one]).metrics.items()}
    assert got["acc"] == 0  # -2 is likeliest
    assert got["acc_norm"] == 1  # -2, -1.5, -1
    assert got["acc_tokens"] == 1
    assert got["acc_pmi"] == 1  # -1, -1.5, +5
    odds = np.exp([-2.0, -3.0, -4.0])
    assert got["mass"] == pytest.approx(odds[2] / odds.sum())
    p = odds / odds.sum()
    assert got["brier"] == pytest.approx(p[0] ** 2 + p[1] ** 2 + (1 - p[2]) ** 2)
    assert got["gold_bpb"] == pytest.approx(4 / math.log(2))


def test_a_metric_that_not_every_item_has_is_left_out():
    assert "acc_pmi" not in choice_scores([item([-1, -2, -3]), item([-1, -2, -3], blind=[-1, -1, -1])]).metrics


def test_ties_are_said():
    assert choice_scores([item([-1.0, -1.0, -3.0])]).notes


def test_perplexity_is_that_of_the_mean_and_bits_per_byte_of_the_sum():
    scores = likelihood_scores(np.array([-1.0, -3.0]), np.array([1.0, 0.0]), np.array([2.0, 6.0]))
    figures = {name: figure(name, one) for name, one in scores.metrics.items()}
    assert figures["perplexity"].value == pytest.approx(math.exp(2))
    assert figures["bits_per_byte"].value == pytest.approx(4 / 8 / math.log(2))
    rolled = rolling_scores(np.array([-10.0]), np.array([5.0]), np.array([2.0])).metrics
    assert figure("word_perplexity", rolled["word_perplexity"]).value == pytest.approx(math.exp(5))
    assert figure("byte_perplexity", rolled["byte_perplexity"]).low is None  # one text: no interval


def test_clusters_widen_the_interval():
    values = np.repeat(np.arange(40) % 2, 10).astype(float)
    alone = figure("acc", PerItem(values))
    together = figure("acc", PerItem(values), [str(at // 10) for at in range(400)])
    assert together.clusters == 40
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_a_calibrated_model_has_little_error():
    draw = np.random.default_rng(0)
    sure = draw.uniform(0.3, 1, 4000)
    right = (draw.uniform(size=4000) < sure).astype(float)
    assert calibration(sure, right).value < 0.03
    assert calibration(np.full(4000, 0.99), right).value > 0.3


def questions(n: int, right: float, gold_is_longest: bool = False) -> list[Choices]:
    """A model that is right so often; the gold stands at any place."""
    draw, made = np.random.default_rng(3), []
    for _ in range(n):
        gold = int(draw.integers(4))
        taken = gold if draw.uniform() < right else int((gold + 1 + draw.integers(3)) % 4)
        logprobs = np.full(4, -9.0)
        logprobs[taken] = -1.0
        long = gold if gold_is_longest else int(draw.integers(4))
        texts = tuple("long text" if at == long else "text" for at in range(4))
        made.append(item(logprobs.tolist(), gold, texts, blind=draw.normal(size=4)))
    return made


def judged(items: list[Choices]) -> tuple[str, str]:
    scored = choice_scores(items).metrics["acc"]
    rivals = option_baselines(items)
    rivals.append(answer_only(items, "acc", range(len(items))))
    found = worth(scored, rivals, None)
    return found.outcome, found.text


def test_verdicts():
    assert judged(questions(200, 0.7))[0] == "above"
    assert judged(questions(200, 0.25))[0] == "not above chance"
    assert judged(questions(8, 0.9))[0] == "too few items"
    assert judged(questions(30, 0.25))[0] == "too few items"
    outcome, text = judged(questions(200, 0.7, gold_is_longest=True))
    assert outcome == "shortcut"
    assert "longest option" in text


def test_a_model_that_guesses_is_seldom_called_above_chance():
    wrong = 0
    for seed in range(40):
        draw = np.random.default_rng(seed)
        one = PerItem((draw.uniform(size=100) < 0.25).astype(float))
        wrong += worth(one, [], 0.25).outcome == "above"
    assert wrong <= 4  # 2.5 % of them at the upper side


def test_baselines_share_what_ties():
    found = {one.name: one.value for one in option_baselines([item([-1, -2, -3], 0, ("ab", "ab", "a"))])}
    assert found["longest option"] == 0.5
    assert found["shortest option"] == 0
    assert found["chance"] == pytest.approx(1 / 3)
    assert "majority position" not in found  # the gold always stands in one place: never shuffled


def test_a_model_that_knows_the_answers_without_the_questions_is_found_out():
    items = [
        Choices(one.logprobs, one.logprobs, one.chars, one.bytes, one.tokens, one.greedy, one.gold)
        for one in questions(200, 0.6)
    ]
    outcome, text = judged(items)
    assert outcome == "shortcut"
    assert "without the question" in text
