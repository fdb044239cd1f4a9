"""Gemma: Llama with GeGLU, scaled embeddings, and norms that store the scale minus one."""

from __future__ import annotations

from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import common, llama
from tutelage.model.families.family import Family

PARTS = {
    "norm_offset": True,
    "embedding_multiplier": "sqrt",
    "activation": "gelu_tanh",
    "tie_word_embeddings": True,
}


def to_config(config: ModelConfig) -> dict[str, Any]:
    data = {
        **llama.to_config(config),
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
    }
    return {key: value for key, value in data.items() if key != "mlp_bias"}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    common.refuse(data, use_bidirectional_attention=False)
    # Early files have "gelu" but mean the tanh approximation, which transformers also uses for them.
    return {
        **llama.from_config({**data, "hidden_act": "gelu_pytorch_tanh"}),
        **PARTS,
        "head_dim": common.head_dim_from_config({"head_dim": 256, **data}),
        "tie_word_embeddings": data.get("tie_word_embeddings", True),
    }


FAMILY = Family(
    name="gemma",
    published="Gemma 2B, 7B",
    architecture="Gemma",
    model_type="gemma",
    parts=PARTS,
    to_config=to_config,
    from_config=from_config,
    weights=llama.weights,
)
