"""Gemma 3 (text): five sliding layers per full one, a RoPE base for each type, QK-norm instead of softcaps."""

from __future__ import annotations

from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import common, gemma2
from tutelage.model.families.family import Family

PARTS = {
    **gemma2.COMMON_PARTS,
    "layer_types": ("sliding",) * 5 + ("full",),
    "qk_norm": "head",
    "rope_theta": 1e6,
    "rope_local_theta": 1e4,
}


def to_config(config: ModelConfig) -> dict[str, Any]:
    data = {
        **gemma2.to_config(config),
        **common.rope_by_kind_to_config(config),
        "rope_local_base_freq": config.rope_local_theta,
    }
    return {key: value for key, value in data.items() if key != "rope_scaling"}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    full, local = common.rope_by_kind_from_config(data)
    every = data.get("sliding_window_pattern", 6)
    types = data.get("layer_types") or [
        "sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(data["num_hidden_layers"])
    ]
    plain = {"attn_logit_softcapping": None, "final_logit_softcapping": None, **data, "layer_types": types}
    scaling = {**(data.get("rope_scaling") or {}), **full}
    return {
        **gemma2.from_config({key: value for key, value in plain.items() if not key.startswith("rope_")}),
        "qk_norm": "head",
        "rope_theta": float(full.get("rope_theta") or data.get("rope_theta") or 1e6),
        "rope_scaling": common.scaling_from_config(scaling, data),
        "rope_local_theta": float(local.get("rope_theta") or data.get("rope_local_base_freq") or 1e4),
    }


FAMILY = Family(
    name="gemma3",
    published="Gemma 3 270M to 27B (text)",
    architecture="Gemma3",
    model_type="gemma3_text",
    parts=PARTS,
    to_config=to_config,
    from_config=from_config,
    weights=gemma2.weights,
    notes="RoPE scaling in full layers only",
)
