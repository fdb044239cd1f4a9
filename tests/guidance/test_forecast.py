"""Forecasts grow with the work, know what is finished, and have a range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_rules import Fixed

from tutelage.guidance.costs import model_facts
from tutelage.guidance.forecast import Outlook, look_ahead
from tutelage.guidance.machine import ThisMachine
from tutelage.model.families import FamilyConfig
from tutelage.recipe.config import load_recipe
from tutelage.recipe.graph import life
from tutelage.training.config import TrainingConfig

RECIPES = Path(__file__).parents[2] / "recipes"


def ahead(*sets: str, made: dict[str, Any] | None = None) -> Outlook:
    nodes = life(load_recipe(None, list(sets)))
    made = made or {}
    return look_ahead(nodes, {node.name for node in nodes} - set(made), made, Fixed())


def test_every_stage_has_a_range_around_its_forecast() -> None:
    outlook = ahead()
    assert len(outlook.forecasts) == 9 and outlook.unknown == []
    for name, one in outlook.forecasts.items():
        assert one.seconds is not None and 0 <= one.low <= one.seconds <= one.high, name
        assert one.memory > 0, name
    low, high = outlook.total
    assert low < sum(outlook.seconds.values()) < high


@pytest.mark.parametrize(
    ("change", "stage"),
    [
        ("pretrain.training.steps=8000", "base"),
        ("model.num_layers=20", "base"),
        ("finetune.classify.training.epochs=9", "classify"),
        ("finetune.instruct.training.epochs=9", "instruct"),
        ("finetune.prefer.pairs.samples=16", "prefer.pairs"),
        ("finetune.prefer.pairs.prompts=4000", "prefer"),
        ("evaluate.max_tokens=400", "evaluate"),
    ],
)
def test_more_work_takes_longer(change: str, stage: str) -> None:
    before, after = ahead().seconds[stage], ahead(change).seconds[stage]
    assert after > 1.5 * before


def test_what_is_finished_takes_no_time_and_its_facts_replace_what_was_expected() -> None:
    corpus = {"bytes": 1e6, "documents": 5000, "train_documents": 4700, "heldout_documents": 300, "labels": 4}
    outlook = ahead(made={"corpus": corpus})
    assert "corpus" not in outlook.forecasts
    assert outlook.facts["corpus"]["train_bytes"] == pytest.approx(940_000)
    assert outlook.facts["base"]["train_tokens"] < 1e6 < ahead().facts["base"]["train_tokens"]


def test_a_model_that_cannot_be_told_yet_is_said() -> None:
    nodes = life(load_recipe(RECIPES / "adopt.yaml", ["base.source=org/name"]))
    outlook = look_ahead(nodes, {node.name for node in nodes}, {}, Fixed())
    assert set(outlook.unknown) >= {"base", "classify", "evaluate"} and "corpus" in outlook.seconds


def test_rates_are_measured_on_the_model_itself() -> None:
    machine = ThisMachine()
    training = TrainingConfig(batch_rows=4, precision="float32", threads=1)

    def rate(width: int) -> float:
        config = FamilyConfig(vocab_size=64, hidden_size=width, intermediate_size=3 * width, num_layers=2, num_heads=4,
                             num_kv_heads=2, max_position_embeddings=64)  # fmt: skip
        return machine.training_seconds_per_token(config, 64, training)

    assert rate(512) > 2 * rate(32) > 0
    assert rate(32) == rate(32)  # measured once


def test_costs_of_a_model() -> None:
    config = FamilyConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_layers=2, num_heads=4,
                          num_kv_heads=2, max_position_embeddings=64)  # fmt: skip
    facts = model_facts(config, 64)
    assert facts["training_flops_per_token"] == 3 * facts["forward_flops_per_token"]
    assert facts["parameters"] == sum(facts["parameters_by_part"].values())
