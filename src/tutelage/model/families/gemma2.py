"""Gemma 2: norms before and after, sliding windows in every other layer, GeGLU, attention and logit softcaps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import common
from tutelage.model.families.family import Family
from tutelage.model.families.llama import NAMES as LLAMA_NAMES
from tutelage.model.families.weights import Weight, renamed

NAMES = (
    *LLAMA_NAMES[:-1],
    (".mlp_norm.", ".pre_feedforward_layernorm."),
    (".attention_post_norm.", ".post_attention_layernorm."),
    (".mlp_post_norm.", ".post_feedforward_layernorm."),
)
COMMON_PARTS = {
    "norm_offset": True,
    "norm_place": "sandwich",
    "embedding_multiplier": "sqrt",
    "activation": "gelu_tanh",
    "sliding_window": 4096,
}
PARTS = {
    **COMMON_PARTS,
    "layer_types": ("sliding", "full"),
    "attention_softcap": 50.0,
    "logit_softcap": 30.0,
}


def to_config(config: ModelConfig) -> dict[str, Any]:
    scale = config.attention_scale
    scalar = config.dim_per_head if scale is None else round(scale**-2, 6)
    return {
        **common.sizes_to_config(config),
        **common.rope_to_config(config),
        "head_dim": config.dim_per_head,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_act": "gelu_pytorch_tanh",
        "rms_norm_eps": config.norm_eps,
        "attention_bias": config.attention_bias,
        "query_pre_attn_scalar": int(scalar) if scalar == int(scalar) else scalar,
        "sliding_window": config.sliding_window,
        "layer_types": common.layer_types_to_config(config),
        "attn_logit_softcapping": config.attention_softcap or None,
        "final_logit_softcapping": config.logit_softcap or None,
    }


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    common.refuse(data, use_bidirectional_attention=False)
    types = data.get("layer_types") or [
        "full_attention" if layer % 2 else "sliding_attention" for layer in range(data["num_hidden_layers"])
    ]
    scalar = data.get("query_pre_attn_scalar", 256)
    return {
        **PARTS,
        **common.sizes_from_config(data),
        **common.rope_from_config(data),
        "head_dim": common.head_dim_from_config({"head_dim": 256, **data}),
        "activation": common.activation_from_config(data, "hidden_activation", "gelu_pytorch_tanh"),
        "norm_eps": data["rms_norm_eps"],
        "tie_word_embeddings": data.get("tie_word_embeddings", True),
        "attention_bias": data.get("attention_bias", False),
        "attention_out_bias": data.get("attention_bias", False),
        "attention_scale": None if scalar == data.get("head_dim", 256) else scalar**-0.5,
        "sliding_window": data.get("sliding_window", 4096),
        "layer_types": common.layer_types_from_config(types),
        "attention_softcap": data.get("attn_logit_softcapping", 50.0) or 0.0,
        "logit_softcap": data.get("final_logit_softcapping", 30.0) or 0.0,
    }


def weights(config: ModelConfig) -> Iterable[Weight]:
    return renamed(config, NAMES)


FAMILY = Family(
    name="gemma2",
    published="Gemma 2 2B to 27B",
    architecture="Gemma2",
    model_type="gemma2",
    parts=PARTS,
    to_config=to_config,
    from_config=from_config,
    weights=weights,
)
