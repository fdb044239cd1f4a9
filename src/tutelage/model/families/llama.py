"""Llama 2 and 3: pre-norm RMSNorm, RoPE, grouped queries, SwiGLU, no biases. Most others are variants of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import common
from tutelage.model.families.family import Family
from tutelage.model.families.weights import Weight, renamed

NAMES = (
    ("layers.", "model.layers."),
    ("embed_tokens.", "model.embed_tokens."),
    ("norm.", "model.norm."),
    (".attention.", ".self_attn."),
    (".attention_norm.", ".input_layernorm."),
    (".mlp_norm.", ".post_attention_layernorm."),
)


def to_config(config: ModelConfig) -> dict[str, Any]:
    return {
        **common.sizes_to_config(config),
        **common.rope_to_config(config),
        "head_dim": config.dim_per_head,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
    }


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    return {
        **common.sizes_from_config(data),
        **common.rope_from_config(data),
        "head_dim": common.head_dim_from_config(data),
        "activation": common.activation_from_config(data),
        "norm_eps": data["rms_norm_eps"],
        "tie_word_embeddings": data.get("tie_word_embeddings", False),
        "attention_bias": data.get("attention_bias", False),
        "attention_out_bias": data.get("attention_bias", False),
        "mlp_bias": data.get("mlp_bias", False),
    }


def weights(config: ModelConfig) -> Iterable[Weight]:
    return renamed(config, NAMES)


FAMILY = Family(
    name="llama",
    published="Llama 2, Llama 3.x, SmolLM, SmolLM2, TinyLlama, Yi",
    architecture="Llama",
    model_type="llama",
    parts={},
    to_config=to_config,
    from_config=from_config,
    weights=weights,
    notes="RoPE scaling: linear, llama3, YaRN",
)
