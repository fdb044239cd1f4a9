"""GPT-NeoX: parallel attention and feed-forward, RoPE on a quarter of each head, LayerNorm, biases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import common
from tutelage.model.families.family import Family
from tutelage.model.families.weights import Weight, fused_by_group, renamed

NAMES = (
    ("layers.", "gpt_neox.layers."),
    ("embed_tokens.", "gpt_neox.embed_in."),
    ("norm.", "gpt_neox.final_layer_norm."),
    ("lm_head.", "embed_out."),
    (".attention.o_proj.", ".attention.dense."),
    (".attention_norm.", ".input_layernorm."),
    (".mlp_norm.", ".post_attention_layernorm."),
    (".up_proj.", ".dense_h_to_4h."),
    (".down_proj.", ".dense_4h_to_h."),
)
PARTS = {
    "norm": "layernorm",
    "parallel_residual": True,
    "rope_fraction": 0.25,
    "gated": False,
    "activation": "gelu",
    "attention_bias": True,
    "attention_out_bias": True,
    "mlp_bias": True,
    "tie_word_embeddings": False,
}


def to_config(config: ModelConfig) -> dict[str, Any]:
    data = {
        **common.sizes_to_config(config),
        **common.rope_to_config(config),
        "rotary_pct": config.rope_fraction,
        "rotary_emb_base": config.rope_theta,
        "use_parallel_residual": config.parallel_residual,
        "attention_bias": config.attention_bias,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "silu": "silu"}.get(config.activation, "gelu"),
        "hidden_dropout": 0.0,
        "classifier_dropout": 0.0,
    }
    return {key: value for key, value in data.items() if key != "num_key_value_heads"}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    bias = data.get("attention_bias", True)
    rope = common.rope_from_config(data, data.get("rotary_emb_base", 10000.0), data.get("rotary_pct", 0.25))
    return {
        **PARTS,
        **common.sizes_from_config(data),
        **rope,
        "norm_eps": data.get("layer_norm_eps", 1e-5),
        "activation": common.activation_from_config(data, default="gelu"),
        "parallel_residual": data.get("use_parallel_residual", True),
        "tie_word_embeddings": data.get("tie_word_embeddings", False),
        "attention_bias": bias,
        "attention_out_bias": bias,
    }


def weights(config: ModelConfig) -> Iterable[Weight]:
    return renamed(config, NAMES, _fused(config))


def _fused(config: ModelConfig) -> Iterator[Weight]:
    for layer in range(config.num_layers):
        for kind in ("weight", "bias") if config.attention_bias else ("weight",):
            parts = [f"layers.{layer}.attention.{name}_proj.{kind}" for name in "qkv"]
            whole = f"gpt_neox.layers.{layer}.attention.query_key_value.{kind}"
            yield fused_by_group(config, parts, whole, config.num_heads)


FAMILY = Family(
    name="gpt_neox",
    published="GPT-NeoX 20B, Pythia",
    architecture="GPTNeoX",
    model_type="gpt_neox",
    parts=PARTS,
    to_config=to_config,
    from_config=from_config,
    weights=weights,
    notes="fused by head; parallel residual optional",
    base_prefix="gpt_neox.",
    ignored=(r"\.attention\.(masked_)?bias$", r"rotary_emb\.inv_freq$"),
)
