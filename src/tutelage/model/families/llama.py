"""Llama 2/3: pre-norm RMSNorm, rotary positions, grouped queries, SwiGLU, no biases."""

from __future__ import annotations

from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.store.errors import InputError

NAMES = (
    ("layers.", "model.layers."),
    ("embed_tokens.", "model.embed_tokens."),
    ("norm.", "model.norm."),
    (".attention.", ".self_attn."),
    (".attention_norm.", ".input_layernorm."),
    (".mlp_norm.", ".post_attention_layernorm."),
)


def to_config(config: ModelConfig) -> dict[str, Any]:
    """Keys of the Hugging Face config that describe the decoder."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.dim_per_head,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": config.rms_norm_eps,
        "initializer_range": config.initializer_range,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": config.tie_word_embeddings,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_cache": True,
    }


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    """Fields of `ModelConfig` from a Hugging Face config. Raises InputError for what is not supported yet."""
    rope = data.get("rope_parameters") or data.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise InputError(f"rope scaling {kind!r} is not supported yet")
    for key, wanted in (("attention_bias", False), ("mlp_bias", False), ("hidden_act", "silu")):
        if data.get(key, wanted) != wanted:
            raise InputError(f"{key}={data[key]!r} is not supported yet")
    return {
        "vocab_size": data["vocab_size"],
        "hidden_size": data["hidden_size"],
        "intermediate_size": data["intermediate_size"],
        "num_layers": data["num_hidden_layers"],
        "num_heads": data["num_attention_heads"],
        "num_kv_heads": data.get("num_key_value_heads") or data["num_attention_heads"],
        "head_dim": data.get("head_dim") or 0,
        "max_position_embeddings": data["max_position_embeddings"],
        "rms_norm_eps": data["rms_norm_eps"],
        "initializer_range": data.get("initializer_range", 0.02),
        "rope_theta": float(rope.get("rope_theta") or data.get("rope_theta") or 10000.0),
        "tie_word_embeddings": data.get("tie_word_embeddings", False),
    }
