"""DeepSeek-V3: latent attention, and fine-grained experts with a shared one, balanced by a bias instead of a loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tutelage.model.config import Experts, LatentAttention, ModelConfig
from tutelage.model.families import common, llama
from tutelage.model.families.family import Family
from tutelage.model.families.qwen3_moe import stacked_experts
from tutelage.model.families.weights import Weight, renamed
from tutelage.store.errors import InputError

NAMES = (
    *llama.NAMES,
    (".q_down.", ".q_a_proj."),
    (".self_attn.q_norm.", ".self_attn.q_a_layernorm."),
    (".q_up.", ".q_b_proj."),
    (".kv_down.", ".kv_a_proj_with_mqa."),
    (".kv_norm.", ".kv_a_layernorm."),
    (".kv_up.", ".kv_b_proj."),
    (".mlp.router.", ".mlp.gate."),
    (".mlp.correction", ".mlp.gate.e_score_correction_bias"),
    (".mlp.shared.", ".mlp.shared_experts."),
)
PARTS = {
    "latent": LatentAttention(),
    "rope_interleaved": True,
    "tie_word_embeddings": False,
    "experts": Experts(score="sigmoid", balance="bias", scaling=2.5, first_dense=1),
}


def to_config(config: ModelConfig) -> dict[str, Any]:
    experts, latent = config.experts or Experts(), config.latent or LatentAttention()
    shared = experts.shared_size / config.expert_size
    if shared != int(shared):
        raise InputError("experts.shared_size must be a multiple of experts.intermediate_size")
    data = {
        **llama.to_config(config),
        "num_key_value_heads": config.num_heads,
        "rope_interleave": config.rope_interleaved,
        "q_lora_rank": latent.q_rank or None,
        "kv_lora_rank": latent.kv_rank,
        "qk_nope_head_dim": latent.nope_head_dim,
        "qk_rope_head_dim": latent.rope_head_dim,
        "v_head_dim": latent.value_head_dim,
        "moe_intermediate_size": config.expert_size,
        "n_routed_experts": experts.num_experts,
        "n_shared_experts": int(shared),
        "num_experts_per_tok": experts.experts_per_token,
        "n_group": experts.groups,
        "topk_group": experts.groups_used,
        "norm_topk_prob": experts.normalise,
        "routed_scaling_factor": experts.scaling,
        "first_k_dense_replace": experts.first_dense,
        "moe_layer_freq": 1,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "router_bias_update_rate": experts.balance_rate,
        "num_nextn_predict_layers": 0,
    }
    return {key: value for key, value in data.items() if key not in ("mlp_bias", "head_dim")}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    common.refuse(data, scoring_func="sigmoid", topk_method="noaux_tc", moe_layer_freq=1, quantization_config=None)
    size = data["moe_intermediate_size"]
    plain = {key: value for key, value in data.items() if key != "head_dim"}
    return {
        **llama.from_config(plain),
        "head_dim": 0,
        "attention_bias": data.get("attention_bias", False),
        "attention_out_bias": data.get("attention_bias", False),
        "rope_interleaved": data.get("rope_interleave", True),
        "latent": LatentAttention(
            kv_rank=data["kv_lora_rank"],
            q_rank=data.get("q_lora_rank") or 0,
            nope_head_dim=data["qk_nope_head_dim"],
            rope_head_dim=data["qk_rope_head_dim"],
            value_head_dim=data["v_head_dim"],
        ),
        "experts": Experts(
            num_experts=data["n_routed_experts"],
            experts_per_token=data["num_experts_per_tok"],
            intermediate_size=0 if size == data["intermediate_size"] else size,
            score="sigmoid",
            normalise=data.get("norm_topk_prob", True),
            scaling=data.get("routed_scaling_factor", 1.0),
            groups=data.get("n_group") or 1,
            groups_used=data.get("topk_group") or 1,
            shared_size=size * (data.get("n_shared_experts") or 0),
            first_dense=data.get("first_k_dense_replace", 0),
            balance="bias",
            balance_rate=data.get("router_bias_update_rate", 0.001),
        ),
    }


def weights(config: ModelConfig) -> Iterable[Weight]:
    return renamed(config, NAMES, stacked_experts(config))


FAMILY = Family(
    name="deepseek_v3",
    published="DeepSeek-V3, V3.1, R1, Moonlight, Kimi K2 (not in FP8)",
    architecture="DeepseekV3",
    model_type="deepseek_v3",
    parts=PARTS,
    to_config=to_config,
    from_config=from_config,
    weights=weights,
    notes="expert groups, YaRN with its temperature; the multi-token prediction layer is skipped",
    ignored=(r"rotary_emb\.inv_freq$", r"^model\.layers\.61\."),  # layer 61 is for multi-token prediction
)
