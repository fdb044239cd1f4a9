"""Qwen 3: Llama with QK-norm per head."""

from __future__ import annotations

from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import llama, qwen2
from tutelage.model.families.family import Family


def to_config(config: ModelConfig) -> dict[str, Any]:
    data = {**llama.to_config(config), **qwen2.window_to_config(config)}
    return {key: value for key, value in data.items() if key != "mlp_bias"}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    return {**llama.from_config(data), **qwen2.window_from_config(data), "qk_norm": "head"}


FAMILY = Family(
    name="qwen3",
    published="Qwen3 0.6B to 32B",
    architecture="Qwen3",
    model_type="qwen3",
    parts={"qk_norm": "head"},
    to_config=to_config,
    from_config=from_config,
    weights=llama.weights,
    notes="windows optional; YaRN",
)
