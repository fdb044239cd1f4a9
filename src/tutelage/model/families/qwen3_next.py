"""Qwen3-Next: three gated delta net layers per gated attention layer, and many experts with a shared one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tutelage.model.config import DeltaNet, Experts, ModelConfig
from tutelage.model.families import common, llama
from tutelage.model.families.family import Family
from tutelage.model.families.qwen3_moe import experts_from_config, experts_to_config, stacked_experts
from tutelage.model.families.weights import Weight, fused_by_group, renamed, same

NAMES = (
    *llama.NAMES,
    (".mlp.router.", ".mlp.gate."),
    (".mlp.shared.", ".mlp.shared_expert."),
    (".mlp.shared_gate.", ".mlp.shared_expert_gate."),
)
PARTS = {
    "norm_offset": True,
    "qk_norm": "head",
    "attention_gate": True,
    "rope_fraction": 0.25,
    "tie_word_embeddings": False,
    "layer_types": ("delta", "delta", "delta", "full"),
    "delta": DeltaNet(),
    "experts": Experts(shared_gate=True),
}
_DELTA = {"A_log": "A_log", "dt_bias": "dt_bias", "conv": "conv1d.weight", "norm.weight": "norm.weight",
          "o_proj.weight": "out_proj.weight"}  # fmt: skip


def to_config(config: ModelConfig) -> dict[str, Any]:
    delta, experts = config.delta or DeltaNet(), config.experts or Experts()
    data = {
        **llama.to_config(config),
        **experts_to_config(config),
        "shared_expert_intermediate_size": experts.shared_size,
        "layer_types": common.layer_types_to_config(config),
        "linear_conv_kernel_dim": delta.conv_kernel,
        "linear_key_head_dim": delta.key_head_dim,
        "linear_value_head_dim": delta.value_head_dim,
        "linear_num_key_heads": delta.num_key_heads,
        "linear_num_value_heads": delta.num_value_heads,
    }
    return {key: value for key, value in data.items() if key != "mlp_bias"}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    every = data.get("full_attention_interval", 4)
    types = data.get("layer_types") or [
        "linear_attention" if (layer + 1) % every else "full_attention" for layer in range(data["num_hidden_layers"])
    ]
    experts = experts_from_config(data, normalise=True)
    shared = {"shared_size": data.get("shared_expert_intermediate_size", 512), "shared_gate": True}
    return {
        **llama.from_config(data),
        **common.rope_from_config(data, fraction=0.25),
        "head_dim": common.head_dim_from_config({"head_dim": 256, **data}),
        "norm_offset": True,
        "qk_norm": "head",
        "attention_gate": True,
        "layer_types": common.layer_types_from_config(types),
        "delta": DeltaNet(
            num_key_heads=data["linear_num_key_heads"],
            num_value_heads=data["linear_num_value_heads"],
            key_head_dim=data["linear_key_head_dim"],
            value_head_dim=data["linear_value_head_dim"],
            conv_kernel=data["linear_conv_kernel_dim"],
        ),
        "experts": Experts(**{**experts.plain(), **shared}),
    }


def weights(config: ModelConfig) -> Iterable[Weight]:
    return renamed(config, NAMES, [*stacked_experts(config), *_mixing(config)])


def _mixing(config: ModelConfig) -> Iterator[Weight]:
    delta = config.delta or DeltaNet()
    for layer in range(config.num_layers):
        ours, theirs = f"layers.{layer}.attention", f"model.layers.{layer}"
        if config.layer_type(layer) == "delta":
            for name, other in _DELTA.items():
                yield same(f"{ours}.{name}", f"{theirs}.linear_attn.{other}")
            for group in ("qkvz", "ba"):
                parts = [f"{ours}.{name}_proj.weight" for name in group]
                yield fused_by_group(config, parts, f"{theirs}.linear_attn.in_proj_{group}.weight", delta.num_key_heads)
        else:
            for kind in ("weight", "bias") if config.attention_bias else ("weight",):
                parts = [f"{ours}.q_proj.{kind}", f"{ours}.g_proj.{kind}"]
                yield fused_by_group(config, parts, f"{theirs}.self_attn.q_proj.{kind}", config.num_heads)


FAMILY = Family(
    name="qwen3_next",
    published="Qwen3-Next 80B-A3B",
    architecture="Qwen3Next",
    model_type="qwen3_next",
    parts=PARTS,
    to_config=to_config,
    from_config=from_config,
    weights=weights,
    notes="short convolution before the delta rule; the multi-token prediction layer is skipped",
    ignored=(r"^mtp\.",),
)
