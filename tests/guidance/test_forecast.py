"""Sizes and costs: against counting by hand, against the real model, and against common sense."""

from __future__ import annotations

import pytest

from tutelage.guidance.forecast import (
    forecast_recipe,
    forecast_training,
    get,
    model_facts,
    model_of,
    training_tokens,
)
from tutelage.model.families import FamilyConfig
from tutelage.training.memory import training_bytes

SMALL = FamilyConfig(
    vocab_size=100, hidden_size=16, intermediate_size=40, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8,
    tie_word_embeddings=True,
)  # fmt: skip
STAGES = ["corpus", "tokenizer", "baselines", "pretrain", "classify", "instruct", "pairs", "prefer", "evaluate"]


def test_golden_counted_by_hand() -> None:
    facts = model_facts(SMALL, context=10)
    # attention: q 16*32, k and v 16*16 each, o 32*16; MLP: 3*16*40; norms: 2*16 + 2*8 a layer, and 16
    assert facts["parameters_by_part"] == {
        "embedding": 1600, "attention": 2 * 1536, "mlp": 2 * 1920, "experts": 0, "norms": 2 * 48 + 16,
        "output_head": 0, "classification_head": 0,
    }  # fmt: skip
    assert facts["parameters"] == 8624
    assert facts["matmul_parameters"] == 3072 + 3840 + 1600
    assert facts["training_flops_per_token"] == 6 * 8512 + 12 * 2 * 32 * 10
    assert facts["forward_flops_per_token"] * 3 == facts["training_flops_per_token"]
    assert facts["kv_bytes_per_token"] == 2 * 2 * 16 * 4
    assert facts["embedding_share"] == pytest.approx(1600 / 8624)


@pytest.mark.parametrize(
    "changes",
    [{}, {"family": "llama"}, {"tie_word_embeddings": False}, {"num_labels": 5}, {"num_kv_heads": 4, "head_dim": 12}],
)
def test_parameters_are_those_of_the_model(changes: dict[str, object]) -> None:
    from tutelage.model.decoder import DecoderLM

    config = FamilyConfig.parse(SMALL.completed(dict(changes)))
    counted = sum(parameter.numel() for parameter in DecoderLM(config).parameters())
    assert model_facts(config, 8)["parameters"] == counted


def test_seconds_are_flops_over_rate_and_efficiency() -> None:
    seconds, size = forecast_training(SMALL, 1e6, 1e9, context=10, efficiency=0.5)
    assert seconds == pytest.approx(1e6 * (6 * 8512 + 7680) / 0.5e9)
    assert size == training_bytes(SMALL, 16, 10)
    assert forecast_training(SMALL, 1e6, 2e9, context=10, efficiency=0.5)[0] == pytest.approx(seconds / 2)


def test_recipe_of_defaults_has_every_stage() -> None:
    seconds = forecast_recipe({}, 2e11)
    assert list(seconds) == STAGES
    assert all(value > 0 for value in seconds.values())


def test_unwanted_stages_have_no_forecast() -> None:
    none = {"classify": None, "instruct": None, "prefer": None}
    assert list(forecast_recipe({"finetune": none}, 2e11)) == [
        "corpus",
        "tokenizer",
        "baselines",
        "pretrain",
        "evaluate",
    ]
    assert "pairs" not in forecast_recipe({"finetune": {"prefer": None}}, 2e11)


def test_forecast_follows_the_recipe() -> None:
    base = {"pretrain": {"training": {"steps": 100, "batch_rows": 8}, "context_length": 128}}
    more = {"pretrain": {"training": {"steps": 200, "batch_rows": 8}, "context_length": 128}}
    assert training_tokens(base, "pretrain") == 100 * 8 * 128
    assert training_tokens({"pretrain": {"training": {"epochs": 2.0}}}, "pretrain", {"train_tokens": 5e5}) == 1e6
    assert forecast_recipe(more, 2e11)["pretrain"] > forecast_recipe(base, 2e11)["pretrain"]
    assert forecast_recipe(base, 4e11)["pretrain"] < forecast_recipe(base, 2e11)["pretrain"]
    assert forecast_recipe(base, 2e11, {"source_bytes": 1e6})["corpus"] < forecast_recipe(base, 2e11)["corpus"]


def test_vocabulary_comes_from_the_tokenizer() -> None:
    assert model_of({"tokenizer": {"vocab_size": 1000}}).vocab_size == 1024
    assert model_of({"model": {"vocab_size": 300}, "tokenizer": {"vocab_size": 1000}}).vocab_size == 300


def test_get_tells_null_from_missing() -> None:
    assert get({"a": {"b": None}}, "a.b", 3) is None
    assert get({"a": {}}, "a.b", 3) == 3
    assert get({"a": None}, "a.b", 3) == 3
