"""Qwen 2 and 2.5: Llama with a bias on queries, keys and values; sliding windows in upper layers, if any."""

from __future__ import annotations

from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import common, llama
from tutelage.model.families.family import Family


def to_config(config: ModelConfig) -> dict[str, Any]:
    data = {**llama.to_config(config), **window_to_config(config)}
    return {key: value for key, value in data.items() if key not in ("attention_bias", "mlp_bias", "head_dim")}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    return {
        **llama.from_config(data),
        **window_from_config(data),
        "head_dim": 0,
        "attention_bias": True,
        "attention_out_bias": False,
    }


def window_to_config(config: ModelConfig) -> dict[str, Any]:
    windowed = "sliding" in config.layer_types
    types = common.layer_types_to_config(config)
    return {
        "use_sliding_window": windowed,
        "sliding_window": config.sliding_window if windowed else None,
        "max_window_layers": types.index("sliding_attention") if "sliding_attention" in types else config.num_layers,
        "layer_types": types,
    }


def window_from_config(data: dict[str, Any]) -> dict[str, Any]:
    window = data.get("sliding_window") if data.get("use_sliding_window") else None
    types, layers = data.get("layer_types"), data["num_hidden_layers"]
    if types is None:
        first = data.get("max_window_layers", 28) if window else layers
        types = ["sliding_attention" if layer >= first else "full_attention" for layer in range(layers)]
    kinds = common.layer_types_from_config(types)
    return {"layer_types": kinds, "sliding_window": window if "sliding" in kinds else None}


FAMILY = Family(
    name="qwen2",
    published="Qwen2, Qwen2.5",
    architecture="Qwen2",
    model_type="qwen2",
    parts={"attention_bias": True},
    to_config=to_config,
    from_config=from_config,
    weights=llama.weights,
    notes="windows optional; YaRN",
)
