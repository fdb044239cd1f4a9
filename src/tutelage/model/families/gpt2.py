"""GPT-2: learned positions, LayerNorm, GELU, biases everywhere, as many key heads as query heads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import common
from tutelage.model.families.family import Family
from tutelage.model.families.weights import Weight, fused, renamed, transposed

NAMES = (
    ("layers.", "transformer.h."),
    ("embed_tokens.", "transformer.wte."),
    ("embed_positions.", "transformer.wpe."),
    ("norm.", "transformer.ln_f."),
    (".attention_norm.", ".ln_1."),
    (".mlp_norm.", ".ln_2."),
    (".attention.o_proj.", ".attn.c_proj."),
    (".mlp.up_proj.", ".mlp.c_fc."),
    (".mlp.down_proj.", ".mlp.c_proj."),
)
PARTS = {
    "positions": "learned",
    "norm": "layernorm",
    "gated": False,
    "activation": "gelu_tanh",
    "attention_bias": True,
    "attention_out_bias": True,
    "mlp_bias": True,
}


def to_config(config: ModelConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "n_embd": config.hidden_size,
        "n_inner": config.intermediate_size,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_positions": config.max_position_embeddings,
        "layer_norm_epsilon": config.norm_eps,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": config.tie_word_embeddings,
        "activation_function": "gelu_new",
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    common.refuse(data, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    return {
        **PARTS,
        "vocab_size": data["vocab_size"],
        "hidden_size": data["n_embd"],
        "intermediate_size": data.get("n_inner") or 4 * data["n_embd"],
        "num_layers": data["n_layer"],
        "num_heads": data["n_head"],
        "num_kv_heads": data["n_head"],
        "max_position_embeddings": data.get("n_positions", 1024),
        "norm_eps": data.get("layer_norm_epsilon", 1e-5),
        "initializer_range": data.get("initializer_range", 0.02),
        "tie_word_embeddings": data.get("tie_word_embeddings", True),
        "activation": common.activation_from_config(data, "activation_function", "gelu_new"),
    }


def weights(config: ModelConfig) -> Iterable[Weight]:
    return renamed(config, NAMES, _matrices(config))


def _matrices(config: ModelConfig) -> Iterator[Weight]:
    for layer in range(config.num_layers):
        ours, theirs = f"layers.{layer}", f"transformer.h.{layer}"
        for kind in ("weight", "bias"):
            parts = [f"{ours}.attention.{name}_proj.{kind}" for name in "qkv"]
            yield fused(config, parts, f"{theirs}.attn.c_attn.{kind}", transpose=kind == "weight")
        yield transposed(f"{ours}.attention.o_proj.weight", f"{theirs}.attn.c_proj.weight")
        yield transposed(f"{ours}.mlp.up_proj.weight", f"{theirs}.mlp.c_fc.weight")
        yield transposed(f"{ours}.mlp.down_proj.weight", f"{theirs}.mlp.c_proj.weight")


FAMILY = Family(
    name="gpt2",
    published="GPT-2, DistilGPT-2",
    architecture="GPT2",
    head="LMHeadModel",
    model_type="gpt2",
    parts=PARTS,
    to_config=to_config,
    from_config=from_config,
    weights=weights,
    notes="tied; transposed, fused weights",
    base_prefix="transformer.",
    ignored=(r"\.attn\.(masked_)?bias$",),
)
