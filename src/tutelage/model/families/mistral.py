"""Mistral: Llama with sliding windows in all layers (early versions; none in later ones)."""

from __future__ import annotations

from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import llama
from tutelage.model.families.family import Family


def to_config(config: ModelConfig) -> dict[str, Any]:
    data = {**llama.to_config(config), "sliding_window": config.sliding_window if windowed(config) else None}
    return {key: value for key, value in data.items() if key not in ("attention_bias", "mlp_bias")}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    return {**llama.from_config(data), **window_fields(data)}


def windowed(config: ModelConfig) -> bool:
    return set(config.layer_types) == {"sliding"}


def window_fields(data: dict[str, Any]) -> dict[str, Any]:
    window = data.get("sliding_window")
    return {"sliding_window": window, "layer_types": ("sliding",) if window else ("full",)}


FAMILY = Family(
    name="mistral",
    published="Mistral 7B, Mistral Nemo, Mistral Small",
    architecture="Mistral",
    model_type="mistral",
    parts={},
    to_config=to_config,
    from_config=from_config,
    weights=llama.weights,
    notes="windows optional",
)
