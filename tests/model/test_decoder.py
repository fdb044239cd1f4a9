"""The decoder itself: seeds, classes, shapes that contradict each other. Contracts are in test_contracts.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.model.io import load_model, save_model
from tutelage.model.lora import LoraConfig, add_lora
from tutelage.store.errors import ConfigError, DamagedError, InputError


def test_same_seed_same_weights_other_seed_other_weights(tiny: ModelConfig) -> None:
    one, two, three = DecoderLM(tiny, seed=5), DecoderLM(tiny, seed=5), DecoderLM(tiny, seed=6)
    assert torch.equal(one.embed_tokens.weight, two.embed_tokens.weight)
    assert not torch.equal(one.embed_tokens.weight, three.embed_tokens.weight)


def test_a_classifier_keeps_its_labels(tiny: ModelConfig, tmp_path: Path) -> None:
    config = FamilyConfig.parse({**tiny.plain(), "num_labels": 3, "labels": ["a", "b", "c"]})
    save_model(DecoderLM(config), tmp_path)
    assert load_model(tmp_path).config.labels == ("a", "b", "c")
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["Qwen3ForSequenceClassification"]


def test_a_classifier_of_transformers_has_no_language_head(tiny: ModelConfig, tmp_path: Path) -> None:
    config = FamilyConfig.parse({**tiny.plain(), "num_labels": 3})
    model = DecoderLM(config)
    save_model(model, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    assert torch.equal(load_model(tmp_path).score.weight, model.score.weight)


def test_a_weight_too_few_or_too_many_is_named(tiny: ModelConfig, tmp_path: Path) -> None:
    save_model(DecoderLM(tiny), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    norm = weights.pop("model.norm.weight")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(DamagedError, match="do not fit") as error:
        load_model(tmp_path)
    assert "model.norm.weight" in str(error.value.hint)
    save_file({**weights, "model.norm.weight": norm, "extra": norm.clone()}, tmp_path / "model.safetensors")
    with pytest.raises(DamagedError, match="do not fit") as error:
        load_model(tmp_path)
    assert "extra" in str(error.value.hint)


def test_a_model_with_adapters_is_not_saved_as_if_it_had_none(tiny: ModelConfig, tmp_path: Path) -> None:
    model = DecoderLM(tiny)
    add_lora(model, LoraConfig(), seed=1)
    with pytest.raises(InputError, match="adapters"):
        save_model(model, tmp_path)


def test_a_directory_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config\.json"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_heads": 3, "num_kv_heads": 2},
        {"hidden_size": 33},
        {"labels": ["x"], "num_labels": 2},
        {"family": "custom", "latent": {}, "attention_sinks": True},
        {"family": "custom", "activation": "clamped_swish", "gated": False},
        {"family": "custom", "parallel_residual": True, "norm_place": "post"},
        {"family": "custom", "experts": {"num_experts": 4, "experts_per_token": 5}},
        {"family": "custom", "rope_scaling": {"kind": "llama3", "factor": 2.0}},
    ],
)
def test_contradictory_shapes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        FamilyConfig.parse({"vocab_size": 64, **wrong})


@pytest.mark.parity
def test_classifier_scores_equal_transformers(tiny: ModelConfig, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="parity needs the dev extra")
    config = FamilyConfig.parse({**tiny.plain(), "num_labels": 3, "pad_token_id": 0, "eos_token_id": [0]})
    model = DecoderLM(config, seed=3).eval()
    save_model(model, tmp_path)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = torch.randint(1, 64, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(ids).logits
    assert torch.allclose(model.scores(model.hidden(ids)[:, -1]), expected, atol=1e-5)
