"""Qwen 3 MoE: Qwen 3 with many small experts, eight of 128 per token, none shared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tutelage.model.config import Experts, ModelConfig
from tutelage.model.families import llama
from tutelage.model.families.family import Family
from tutelage.model.families.weights import Names, Weight, renamed, stacked

NAMES = (*llama.NAMES, (".mlp.router.", ".mlp.gate."))
MATRICES = tuple((name, name) for name in ("gate_proj", "up_proj", "down_proj"))


def to_config(config: ModelConfig) -> dict[str, Any]:
    windowed = "sliding" in config.layer_types
    data = {
        **llama.to_config(config),
        **experts_to_config(config),
        "use_sliding_window": windowed,
        "sliding_window": config.sliding_window if windowed else None,
    }
    return {key: value for key, value in data.items() if key != "mlp_bias"}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    window = data.get("sliding_window") if data.get("use_sliding_window") else None
    return {
        **llama.from_config(data),
        "qk_norm": "head",
        "sliding_window": window,
        "layer_types": ("sliding",) if window else ("full",),
        "experts": experts_from_config(data, normalise=False),
    }


def experts_to_config(config: ModelConfig) -> dict[str, Any]:
    experts = config.experts or Experts()
    return {
        "num_experts": experts.num_experts,
        "num_experts_per_tok": experts.experts_per_token,
        "moe_intermediate_size": config.expert_size,
        "norm_topk_prob": experts.normalise,
        "decoder_sparse_step": experts.every,
        "mlp_only_layers": sorted({*range(experts.first_dense), *experts.dense_layers}),
        "router_aux_loss_coef": experts.balance_rate,
        "output_router_logits": False,
    }


def experts_from_config(data: dict[str, Any], normalise: bool) -> Experts:
    size = data["moe_intermediate_size"]
    return Experts(
        num_experts=data.get("num_experts") or data["num_local_experts"],  # as transformers 5 saves it
        experts_per_token=data["num_experts_per_tok"],
        intermediate_size=0 if size == data["intermediate_size"] else size,
        normalise=data.get("norm_topk_prob", normalise),
        every=data.get("decoder_sparse_step", 1),
        dense_layers=tuple(data.get("mlp_only_layers") or ()),
        balance_rate=data.get("router_aux_loss_coef", 0.001),
    )


def weights(config: ModelConfig) -> Iterable[Weight]:
    return renamed(config, NAMES, stacked_experts(config))


def stacked_experts(config: ModelConfig, place: str = "mlp.experts", names: Names = MATRICES) -> Iterator[Weight]:
    """The matrices of each expert, stored separately in most checkpoints. names: pairs (ours, theirs)."""
    for layer in range(config.num_layers):
        if config.experts is None or not config.has_experts(layer):
            continue
        for ours, theirs in names:
            experts = range(config.experts.num_experts)
            yield stacked(
                f"layers.{layer}.mlp.{ours}",
                [f"model.layers.{layer}.{place}.{expert}.{theirs}.weight" for expert in experts],
            )


FAMILY = Family(
    name="qwen3_moe",
    published="Qwen3-30B-A3B, Qwen3-235B-A22B",
    architecture="Qwen3Moe",
    model_type="qwen3_moe",
    parts={"qk_norm": "head", "tie_word_embeddings": False, "experts": Experts(normalise=True)},
    to_config=to_config,
    from_config=from_config,
    weights=weights,
)
