"""OLMo 2: norms after each part instead of before, and QK-norm over all heads together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import llama
from tutelage.model.families.family import Family
from tutelage.model.families.weights import Weight, renamed

NAMES = (
    *llama.NAMES[:-2],
    (".attention_post_norm.", ".post_attention_layernorm."),
    (".mlp_post_norm.", ".post_feedforward_layernorm."),
)
PARTS = {"norm_place": "post", "qk_norm": "layer", "tie_word_embeddings": False}


def to_config(config: ModelConfig) -> dict[str, Any]:
    return {key: value for key, value in llama.to_config(config).items() if key not in ("mlp_bias", "head_dim")}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    return {**llama.from_config(data), "norm_place": "post", "qk_norm": "layer", "head_dim": 0}


def weights(config: ModelConfig) -> Iterable[Weight]:
    return renamed(config, NAMES)


FAMILY = Family(
    name="olmo2",
    published="OLMo 2 1B to 32B",
    architecture="Olmo2",
    model_type="olmo2",
    parts=PARTS,
    to_config=to_config,
    from_config=from_config,
    weights=weights,
)
