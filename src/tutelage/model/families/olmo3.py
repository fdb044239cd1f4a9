"""OLMo 3: OLMo 2 with three sliding layers per full one; RoPE scaling in full layers only."""

from __future__ import annotations

from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import common, olmo2
from tutelage.model.families.family import Family

PARTS = {
    **olmo2.PARTS,
    "layer_types": ("sliding", "sliding", "sliding", "full"),
    "sliding_window": 4096,
    "rope_theta": 5e5,
    "rope_local_theta": 5e5,
}


def to_config(config: ModelConfig) -> dict[str, Any]:
    data = {
        **olmo2.to_config(config),
        **common.rope_by_kind_to_config(config),
        "sliding_window": config.sliding_window,
        "layer_types": common.layer_types_to_config(config),
    }
    return {key: value for key, value in data.items() if key != "rope_scaling"}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    full, local = common.rope_by_kind_from_config(data)
    theta = float(full.get("rope_theta") or data.get("rope_theta") or 5e5)
    types = data.get("layer_types") or [
        "sliding_attention" if (layer + 1) % 4 else "full_attention" for layer in range(data["num_hidden_layers"])
    ]
    plain = {key: value for key, value in data.items() if not key.startswith("rope_")}
    return {
        **olmo2.from_config(plain),
        "rope_theta": theta,
        "rope_scaling": common.scaling_from_config({**(data.get("rope_scaling") or {}), **full}, data),
        "rope_local_theta": float(local.get("rope_theta") or theta),
        "sliding_window": data.get("sliding_window", 4096),
        "layer_types": common.layer_types_from_config(types),
    }


FAMILY = Family(
    name="olmo3",
    published="OLMo 3 7B, 32B",
    architecture="Olmo3",
    model_type="olmo3",
    parts=PARTS,
    to_config=to_config,
    from_config=from_config,
    weights=olmo2.weights,
    notes="YaRN in full layers only",
)
