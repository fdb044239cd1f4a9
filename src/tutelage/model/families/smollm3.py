"""SmolLM3: Llama without RoPE in every fourth layer (NoPE; Yang et al. 2025)."""

from __future__ import annotations

from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import common, llama
from tutelage.model.families.family import Family


def to_config(config: ModelConfig) -> dict[str, Any]:
    windowed = "sliding" in config.layer_types
    return {
        **llama.to_config(config),
        "no_rope_layers": [int(config.has_rope(layer)) for layer in range(config.num_layers)],
        "use_sliding_window": windowed,
        "sliding_window": config.sliding_window if windowed else None,
        "layer_types": common.layer_types_to_config(config),
    }


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    layers, interval = data["num_hidden_layers"], data.get("no_rope_layer_interval", 4)
    rope = data.get("no_rope_layers") or [int((layer + 1) % interval != 0) for layer in range(layers)]
    window = data.get("sliding_window") if data.get("use_sliding_window") else None
    types = data.get("layer_types") or [
        "sliding_attention" if window and not has_rope else "full_attention" for has_rope in rope
    ]
    kinds = common.layer_types_from_config(types)
    return {
        **llama.from_config(data),
        "tie_word_embeddings": data.get("tie_word_embeddings", True),
        "rope_layers": common.shortest_pattern([bool(has_rope) for has_rope in rope]),
        "layer_types": kinds,
        "sliding_window": window if "sliding" in kinds else None,
    }


FAMILY = Family(
    name="smollm3",
    published="SmolLM3 3B",
    architecture="SmolLM3",
    model_type="smollm3",
    parts={"rope_layers": (True, True, True, False)},
    to_config=to_config,
    from_config=from_config,
    weights=llama.weights,
    notes="pattern of layers without RoPE",
)
