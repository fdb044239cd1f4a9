"""GPT-OSS: attention sinks, sliding windows in every other layer, biases, experts with a clamped SwiGLU, YaRN."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tutelage.model.config import Experts, ModelConfig
from tutelage.model.families import common, llama
from tutelage.model.families.family import Family
from tutelage.model.families.weights import Weight, alternating, renamed, same, transposed
from tutelage.store.errors import InputError

PARTS = {
    "layer_types": ("sliding", "full"),
    "sliding_window": 128,
    "attention_bias": True,
    "attention_out_bias": True,
    "attention_sinks": True,
    "activation": "clamped_swish",
    "tie_word_embeddings": False,
    "experts": Experts(num_experts=32, experts_per_token=4, bias=True),
}


def to_config(config: ModelConfig) -> dict[str, Any]:
    experts = config.experts or Experts()
    data = {
        **llama.to_config(config),
        "sliding_window": config.sliding_window,
        "layer_types": common.layer_types_to_config(config),
        "num_local_experts": experts.num_experts,
        "num_experts_per_tok": experts.experts_per_token,
        "router_aux_loss_coef": experts.balance_rate,
        "output_router_logits": False,
        "swiglu_limit": 7.0,
    }
    return {key: value for key, value in data.items() if key != "mlp_bias"}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    if data.get("quantization_config"):
        raise InputError("MXFP4 weights are not supported", hint="take a checkpoint converted to bfloat16")
    common.refuse(data, swiglu_limit=7.0, swiglu_alpha=1.702, attention_bias=True)
    types = data.get("layer_types") or [
        "full_attention" if layer % 2 else "sliding_attention" for layer in range(data["num_hidden_layers"])
    ]
    return {
        **llama.from_config({**data, "hidden_act": "silu"}),
        **PARTS,
        "layer_types": common.layer_types_from_config(types),
        "sliding_window": data.get("sliding_window", 128),
        "tie_word_embeddings": data.get("tie_word_embeddings", False),
        "experts": Experts(
            num_experts=data["num_local_experts"],
            experts_per_token=data["num_experts_per_tok"],
            bias=True,
            balance_rate=data.get("router_aux_loss_coef", 0.001),
        ),
    }


def weights(config: ModelConfig) -> Iterable[Weight]:
    return renamed(config, llama.NAMES, _experts(config))


def _experts(config: ModelConfig) -> Iterator[Weight]:
    for layer in range(config.num_layers):
        ours, theirs = f"layers.{layer}.mlp", f"model.layers.{layer}.mlp.experts"
        yield alternating([f"{ours}.gate_proj", f"{ours}.up_proj"], f"{theirs}.gate_up_proj", transpose=True)
        yield alternating([f"{ours}.gate_bias", f"{ours}.up_bias"], f"{theirs}.gate_up_proj_bias")
        yield transposed(f"{ours}.down_proj", f"{theirs}.down_proj")
        yield same(f"{ours}.down_bias", f"{theirs}.down_proj_bias")


FAMILY = Family(
    name="gpt_oss",
    published="GPT-OSS 20B, 120B (bfloat16)",
    architecture="GptOss",
    model_type="gpt_oss",
    parts=PARTS,
    to_config=to_config,
    from_config=from_config,
    weights=weights,
    notes="YaRN; not in MXFP4",
)
