"""Granite: Llama with multipliers on embeddings, residual branches, attention and logits (muP-like)."""

from __future__ import annotations

from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import llama
from tutelage.model.families.family import Family


def to_config(config: ModelConfig) -> dict[str, Any]:
    data = {
        **llama.to_config(config),
        "embedding_multiplier": config.embedding_scale,
        "residual_multiplier": config.residual_multiplier,
        "attention_multiplier": config.attention_scale or config.dim_per_head**-0.5,
        "logits_scaling": config.logit_divisor,
    }
    return {key: value for key, value in data.items() if key != "head_dim"}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    dim = data["hidden_size"] // data["num_attention_heads"]
    scale = float(data.get("attention_multiplier", 1.0))
    return {
        **llama.from_config(data),
        "head_dim": 0,
        "embedding_multiplier": float(data.get("embedding_multiplier", 1.0)),
        "residual_multiplier": float(data.get("residual_multiplier", 1.0)),
        "attention_scale": None if abs(scale - dim**-0.5) < 1e-9 else scale,
        "logit_divisor": float(data.get("logits_scaling", 1.0)),
    }


FAMILY = Family(
    name="granite",
    published="Granite 3.x dense",
    architecture="Granite",
    model_type="granite",
    parts={},
    to_config=to_config,
    from_config=from_config,
    weights=llama.weights,
    notes="multipliers on embedding, residual, attention, logits",
)
