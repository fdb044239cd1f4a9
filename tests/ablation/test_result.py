"""What is said of an ablation, and the exit code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tutelage.ablation.arms import Arm
from tutelage.ablation.bench import Findings, Question, Trial
from tutelage.ablation.grid import cells, grid
from tutelage.ablation.judge import Scores, noise_of, paired
from tutelage.ablation.measure import Items
from tutelage.ablation.page import render
from tutelage.ablation.resources import Cost
from tutelage.ablation.result import exit_code, noise_lines, plain
from tutelage.recipe.config import load_recipe

SIZES = np.full(40, 300.0)


def findings(*shifts: float, seeds: int = 3) -> Findings:
    """Arms that differ from the first by these bits per byte, with a noise of 0.001."""
    chance, recipe = np.random.default_rng(3), load_recipe(None)
    rates = [1 + shift + chance.normal(0, 1e-3, (seeds, 40)) for shift in (0.0, *shifts)]
    scores = [Scores(rate * SIZES, SIZES) for rate in rates]
    trials = [Trial(Arm(f"arm <{at}>", (f"seed={at}",), recipe), bits=[[1.0]] * seeds) for at in range(len(scores))]
    for trial, one in zip(trials[1:], scores[1:], strict=True):
        trial.paired = paired(one, scores[0], seeds, 0.01)
    cost = Cost(10, 100, 1000, 1.0, 1.1, 0.1)
    items = Items("text", ({"text": "x"},) * 40, ("",) * 40, (300,) * 40)
    names = [trial.arm.name for trial in trials]
    question = Question("q", tuple(trial.arm for trial in trials), seeds=seeds)
    noise = noise_of(scores[0]) if seeds > 1 else None
    return Findings(
        question, items, noise, tuple(trials), dict(zip(names, scores, strict=True)), dict.fromkeys(names, cost),
        len(shifts), 0, Path(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (["better", "too few seeds"], 0),
        (["worse", "not distinguishable"], 3),
        (["failed"], 3),
        (["worse", "too few seeds"], 4),
        (["too few items"], 4),
    ],
)
def test_the_exit_code_says_keep_drop_or_ask_for_more(outcomes: list[str], code: int) -> None:
    assert exit_code(outcomes) == code


def test_with_one_seed_the_sentence_promises_nothing() -> None:
    assert "no difference, however large, would be detected" in plain(findings(0.05, seeds=1))["overall"]


def test_each_arm_has_a_sentence_with_its_numbers_and_the_better_ones_come_first() -> None:
    found = plain(findings(0.05, -0.05, 0.0))
    assert [arm["outcome"] for arm in found["arms"]] == ["first", "worse", "better", "not distinguishable"]
    assert found["overall"].index("arm <2> is better than arm <0> by 0.0") < found["overall"].index("arm <1> is worse")
    assert (
        "a difference of 1 % would have been detected" in found["overall"]
        and "corrected for 3 tries" in found["overall"]
    )
    assert found["code"] == 0 and found["arms"][2]["difference_percent"] == pytest.approx(-5, abs=0.2)


def test_a_sure_difference_that_does_not_matter_is_said_to_be_one() -> None:
    (_, arm) = plain(findings(-0.003))["arms"]
    assert arm["outcome"] == "better" and "significantly less than the 1 % that matters" in arm["verdict"]
    assert "significantly less" not in plain(findings(-0.03))["arms"][1]["verdict"]


def test_the_noise_is_told_with_its_own_uncertainty() -> None:
    noise = findings(0.0).noise
    assert noise is not None
    first, second = noise_lines(noise, 0.01, 4, "bits per byte")
    assert "under 3 seeds gives" in first and "may be chance" in first
    assert "corrected for 4 tries" in second and "given that 3 runs estimate" in second


def test_the_page_escapes_names_and_draws_every_arm() -> None:
    page = render(plain(findings(0.05, -0.05)))
    assert "arm &lt;1&gt;" in page and "arm <1>" not in page
    assert page.count('class="forest') == 2 and page.count('class="dots"') == 3 and "<script" not in page


def test_the_page_of_tokenizers_has_their_measures() -> None:
    one = {"bytes_per_token": 2.5, "parity": None, "domains": {"a": 2.0, "b": 3.0}}
    other = {"bytes_per_token": 1.25, "parity": None, "domains": {"a": 1.0}}
    page = render(plain(findings(0.05)) | {"measures": {"bpe <1>": one, "byte": other}})
    assert "<th>bpe &lt;1&gt;</th><th>byte</th>" in page
    assert "<tr><th>bytes per token</th><td>2.5</td><td>1.25</td></tr>" in page
    assert "<tr><th>bytes per token: b</th><td>3</td><td></td></tr>" in page
    assert "<th>parity</th>" not in page and "tutelage tokenizer compare" in page
    assert "Measures on held-out text" not in render(plain(findings(0.05)))


def test_two_varied_keys_stand_in_a_table_down_and_across() -> None:
    arms = [{"sets": [f"a.b={one}", f"c={other}"], "mean": 1.0, "outcome": "first"} for one in "xy" for other in "123"]
    found = grid(arms)
    assert found is not None and found["down"] == "a.b" and found["across_values"] == ["1", "2", "3"]
    assert found["arms"] == [[0, 1, 2], [3, 4, 5]]
    assert cells({"arms": arms, "grid": found}) == [["1.0000 first"] * 3] * 2
    assert grid(arms[:5]) is None and grid(arms[:3]) is None  # not every combination, and only one value down
    assert grid([{"sets": ["a=1"]}, {"sets": ["a=2"]}]) is None
