"""Mixtral: Mistral with a mixture of experts as feed-forward, two experts per token."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tutelage.model.config import Experts, ModelConfig
from tutelage.model.families import llama, mistral
from tutelage.model.families.family import Family
from tutelage.model.families.qwen3_moe import stacked_experts
from tutelage.model.families.weights import Weight, renamed

NAMES = (*llama.NAMES, (".mlp.router.", ".block_sparse_moe.gate."))
_MATRICES = (("gate_proj", "w1"), ("up_proj", "w3"), ("down_proj", "w2"))


def to_config(config: ModelConfig) -> dict[str, Any]:
    experts = config.experts or Experts()
    return {
        **mistral.to_config(config),
        "num_local_experts": experts.num_experts,
        "num_experts_per_tok": experts.experts_per_token,
        "router_aux_loss_coef": experts.balance_rate,
        "output_router_logits": False,
        "router_jitter_noise": 0.0,
    }


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    return {
        **mistral.from_config(data),
        "experts": Experts(
            num_experts=data["num_local_experts"],
            experts_per_token=data["num_experts_per_tok"],
            balance_rate=data.get("router_aux_loss_coef", 0.001),
        ),
    }


def weights(config: ModelConfig) -> Iterable[Weight]:
    return renamed(config, NAMES, stacked_experts(config, "block_sparse_moe.experts", _MATRICES))


FAMILY = Family(
    name="mixtral",
    published="Mixtral 8x7B, 8x22B",
    architecture="Mixtral",
    model_type="mixtral",
    parts={"tie_word_embeddings": False, "experts": Experts()},
    to_config=to_config,
    from_config=from_config,
    weights=weights,
    notes="windows optional",
)
