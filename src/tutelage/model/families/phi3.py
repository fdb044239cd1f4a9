"""Phi-3 and Phi-4: Llama with fused projections; LongRoPE for long contexts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import llama, mistral
from tutelage.model.families.family import Family
from tutelage.model.families.weights import Weight, fused, renamed


def to_config(config: ModelConfig) -> dict[str, Any]:
    data = {
        **mistral.to_config(config),
        "original_max_position_embeddings": config.max_position_embeddings,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }
    if config.rope_scaling is not None:
        data["original_max_position_embeddings"] = config.rope_scaling.original_length
        data["max_position_embeddings"] = round(config.rope_scaling.original_length * config.rope_scaling.factor)
    return {key: value for key, value in data.items() if key != "head_dim"}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    fields = {**llama.from_config(data), **mistral.window_fields(data), "head_dim": 0}
    if fields["rope_scaling"] is not None:
        # Switching to the long factors beyond the original length would invalidate the KV cache.
        fields["max_position_embeddings"] = fields["rope_scaling"].original_length
    return fields


def weights(config: ModelConfig) -> Iterable[Weight]:
    return renamed(config, llama.NAMES, _fused(config))


def _fused(config: ModelConfig) -> Iterator[Weight]:
    for layer in range(config.num_layers):
        ours, theirs = f"layers.{layer}", f"model.layers.{layer}"
        parts = [f"{ours}.attention.{name}_proj.weight" for name in "qkv"]
        yield fused(config, parts, f"{theirs}.self_attn.qkv_proj.weight")
        parts = [f"{ours}.mlp.{name}_proj.weight" for name in ("gate", "up")]
        yield fused(config, parts, f"{theirs}.mlp.gate_up_proj.weight")


FAMILY = Family(
    name="phi3",
    published="Phi-3, Phi-3.5, Phi-4",
    architecture="Phi3",
    model_type="phi3",
    parts={"tie_word_embeddings": False},
    to_config=to_config,
    from_config=from_config,
    weights=weights,
    notes="fused projections; partial RoPE and LongRoPE (short factors) optional",
)
