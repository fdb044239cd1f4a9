"""Forecasts grow with the work, know what is finished, and have a range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_rules import Fixed

from tutelage.guidance.costs import model_facts
from tutelage.guidance.forecast import LEFT, SHARED, Outlook, look_ahead, together, widened
from tutelage.guidance.machine import ThisMachine
from tutelage.model.families import FamilyConfig
from tutelage.recipe.config import load_recipe
from tutelage.recipe.graph import life
from tutelage.store.stage import Forecast
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


def test_pretraining_is_tokens_times_the_rate_of_its_model() -> None:
    """Golden: twice the steps are twice the tokens, and the rate is asked for the very model, context and settings."""
    asked: list[tuple[Any, ...]] = []

    class Listening(Fixed):
        def training_seconds_per_token(self, model: Any, context: int, settings: Any, *more: Any) -> float:
            asked.append((model, context, settings))
            return 1e-3 * model.num_layers

    recipe = load_recipe(None, ["pretrain.training.validate_every=0", "pretrain.training.steps=500"])
    base = next(node for node in life(recipe) if node.name == "base")
    facts = {
        "corpus": {"bytes": 1e6, "train_bytes": 9e5, "heldout_bytes": 1e5, "train_documents": 900,
                   "heldout_documents": 100, "document_bytes": 1000.0},
        "tokenizer": {"vocab_size": 2048, "bytes_per_token": 4.0},
    }  # fmt: skip
    assert base.spec.forecast is not None
    found = base.spec.forecast(base.config, facts, Listening())
    (model, context, settings), pretrain = asked[0], recipe.pretrain
    assert pretrain is not None and (context, settings) == (pretrain.context_length, pretrain.training)
    assert model.vocab_size == 2048 and model.hidden_size == recipe.model.hidden_size
    tokens, validated = 500 * 6 * 256, 1e5 / 4 + 100
    seconds = 5e-3 * (1.08 * tokens + 0.4 * validated) + 1.5 + 0.16
    assert found.seconds == pytest.approx(seconds)
    assert found.facts["tokens"] == tokens and found.facts["train_tokens"] == 9e5 / 4 + 900


def test_the_range_of_a_sum_is_narrower_than_the_sum_of_ranges() -> None:
    one, other = Forecast(100.0, 70.0, 140.0), Forecast(50.0, 10.0, 80.0)
    assert together([one]) == pytest.approx((70.0, 140.0))
    low, high = together([one, other, Forecast()])  # of the last nothing is known
    above = (0.7 * (40**2 + 30**2) + 0.3 * 70**2) ** 0.5
    assert SHARED == 0.3 and high == pytest.approx(150 + above) and 80 < low < 150 < high < 220
    assert together([]) == (0.0, 0.0)


def test_a_stage_holds_what_earlier_ones_left_in_the_process() -> None:
    """Nearly all is given back between stages; what stays grows with the number of stages that run before."""
    whole = ahead()
    corpus = {"bytes": 1e6, "documents": 5000, "train_documents": 4700, "heldout_documents": 300, "labels": 4}
    made = {"corpus": corpus, "tokenizer": {"vocab_size": 2048, "bytes_per_token": 4.0}}
    facts = {name: dict(whole.facts[name]) for name in made}
    later = ahead(made=made).forecasts["base"].memory
    assert list(whole.forecasts)[:3] == ["corpus", "tokenizer", "base"] and facts
    smaller = 0.7 * (facts["corpus"]["bytes"] - 1e6)  # and the text is smaller than was expected
    assert whole.forecasts["base"].memory - later == pytest.approx(2 * LEFT + smaller, rel=0.5)
    assert later < whole.forecasts["base"].memory
    assert whole.memory == max(one.memory for one in whole.forecasts.values())


def test_memory_has_a_range_in_the_plan_and_in_what_a_run_keeps() -> None:
    outlook = ahead()
    for name, one in outlook.forecasts.items():
        low, middle, high = outlook.kept[name]["memory"]
        assert low < middle < high and middle == one.memory
    assert outlook.memory_range[1] == outlook.memory and outlook.memory_range in [
        one.memory_range for one in outlook.forecasts.values()
    ]


def test_a_busy_machine_has_wider_ranges_around_the_same_forecast() -> None:
    one = Forecast(100.0, 80.0, 130.0, 5.0)
    assert widened(one, 0.0) == one
    busy = widened(one, 2.0)
    assert busy.low < one.low and busy.high > one.high and (busy.seconds, busy.memory) == (100.0, 5.0)
    nodes = life(load_recipe(None))
    calm, busier = (look_ahead(nodes, {node.name for node in nodes}, {}, Fixed(), load) for load in (0.0, 3.0))
    assert busier.total[0] < calm.total[0] < calm.total[1] < busier.total[1] and busier.seconds == calm.seconds


def test_rates_grow_with_the_model() -> None:
    machine = ThisMachine()
    training = TrainingConfig(batch_rows=4, precision="float32", threads=1)

    def rate(width: int) -> float:
        config = FamilyConfig(vocab_size=64, hidden_size=width, intermediate_size=3 * width, num_layers=2, num_heads=4,
                             num_kv_heads=2, max_position_embeddings=64)  # fmt: skip
        return machine.training_seconds_per_token(config, 64, training)

    assert rate(512) > rate(32) > 0  # 256 times the products, so that no other work beside it turns this round
    assert rate(32) == rate(32)  # measured once


def test_costs_of_a_model() -> None:
    config = FamilyConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_layers=2, num_heads=4,
                          num_kv_heads=2, max_position_embeddings=64)  # fmt: skip
    facts = model_facts(config, 64)
    assert facts["training_flops_per_token"] == 3 * facts["forward_flops_per_token"]
    assert facts["parameters"] == sum(facts["parameters_by_part"].values())
