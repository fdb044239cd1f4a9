"""Odd little configs of every family: one key head, heads that are not width / heads, short windows, scaled rope."""

from __future__ import annotations

from typing import Any

SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_layers": 3, "num_heads": 4, "num_kv_heads": 2,
    "max_position_embeddings": 64, "initializer_range": 0.2, "eos_token_id": (0,),
}  # fmt: skip
LINEAR = {"kind": "linear", "factor": 4.0}
LLAMA3 = {"kind": "llama3", "factor": 8.0, "original_length": 32, "low_frequency": 1.0, "high_frequency": 4.0}
YARN = {"kind": "yarn", "factor": 4.0, "original_length": 16}
EXPERTS = {"num_experts": 6, "experts_per_token": 2, "intermediate_size": 24}

CONFIGS: dict[str, tuple[dict[str, Any], ...]] = {
    "gpt2": ({"num_kv_heads": 4, "tie_word_embeddings": True}, {"num_kv_heads": 4, "norm_eps": 1e-5}),
    "gpt_neox": (
        {"num_kv_heads": 4},
        {"num_kv_heads": 4, "rope_fraction": 0.5, "parallel_residual": False, "tie_word_embeddings": True},
        {"num_kv_heads": 4, "rope_fraction": 1.0, "rope_scaling": LINEAR},
    ),
    "llama": (
        {},
        {"num_kv_heads": 1, "head_dim": 12, "tie_word_embeddings": True, "rope_scaling": LLAMA3},
        {"attention_bias": True, "attention_out_bias": True, "mlp_bias": True, "rope_scaling": LINEAR},
        {"rope_scaling": YARN, "num_kv_heads": 4},
    ),
    "mistral": (
        {},
        {"num_kv_heads": 1, "head_dim": 16, "layer_types": ("sliding",), "sliding_window": 5},
    ),
    "mixtral": (
        {"experts": {**EXPERTS, "intermediate_size": 0}},
        {"num_kv_heads": 1, "layer_types": ("sliding",), "sliding_window": 5},
    ),
    "smollm3": ({"num_layers": 5}, {"rope_layers": (False, True), "tie_word_embeddings": False, "rope_scaling": YARN}),
    "qwen2": (
        {},
        {"num_kv_heads": 1, "tie_word_embeddings": True, "rope_scaling": YARN},
        {"layer_types": ("full", "sliding"), "sliding_window": 6},
    ),
    "qwen3": (
        {},
        {"num_kv_heads": 1, "head_dim": 12, "tie_word_embeddings": True},
        {"layer_types": ("full", "sliding", "sliding"), "sliding_window": 4},
    ),
    "qwen3_moe": (
        {"experts": EXPERTS},
        {"experts": {**EXPERTS, "every": 2, "normalise": False}, "num_kv_heads": 1},
        {"experts": {**EXPERTS, "dense_layers": (0,)}, "head_dim": 12},
    ),
    "qwen3_next": (
        {"num_layers": 4},
        {
            "num_layers": 4,
            "num_kv_heads": 1,
            "head_dim": 16,
            "rope_fraction": 0.5,
            "layer_types": ("delta", "full"),
            "tie_word_embeddings": True,
        },
    ),
    "gemma": ({}, {"num_kv_heads": 1, "head_dim": 12}),
    "gemma2": (
        {"num_layers": 4, "sliding_window": 5},
        {"num_kv_heads": 1, "head_dim": 12, "attention_scale": 0.2, "sliding_window": 3},
    ),
    "gemma3": (
        {"num_layers": 7, "sliding_window": 5},
        {
            "num_kv_heads": 1,
            "head_dim": 12,
            "layer_types": ("sliding", "full"),
            "sliding_window": 3,
            "rope_scaling": LINEAR,
            "attention_scale": 0.2,
        },
    ),
    "olmo2": ({}, {"num_kv_heads": 1, "tie_word_embeddings": True}),
    "olmo3": (
        {"num_layers": 5, "sliding_window": 5},
        {"num_kv_heads": 1, "sliding_window": 3, "layer_types": ("sliding", "full"), "rope_scaling": YARN},
    ),
    "phi3": (
        {},
        {
            "num_kv_heads": 1,
            "rope_fraction": 0.5,
            "layer_types": ("sliding",),
            "sliding_window": 6,
            "tie_word_embeddings": True,
        },
    ),
    "granite": (
        {"attention_scale": 0.3, "embedding_multiplier": 6.0, "residual_multiplier": 0.3, "logit_divisor": 4.0},
        {"num_kv_heads": 1, "tie_word_embeddings": True},
    ),
    "gpt_oss": (
        {"experts": {"num_experts": 6, "experts_per_token": 2}, "sliding_window": 5},
        {
            "num_kv_heads": 1,
            "head_dim": 16,
            "sliding_window": 3,
            "experts": {"num_experts": 4, "experts_per_token": 3},
            "rope_scaling": {**YARN, "truncate": False},
        },
    ),
    "deepseek_v3": (
        {
            "num_kv_heads": 4,
            "latent": {"kv_rank": 16, "q_rank": 24, "nope_head_dim": 8, "rope_head_dim": 4, "value_head_dim": 12},
            "experts": {
                "num_experts": 8,
                "experts_per_token": 2,
                "intermediate_size": 24,
                "shared_size": 24,
                "groups": 4,
                "groups_used": 2,
            },
        },
        {
            "num_kv_heads": 4,
            "latent": {"kv_rank": 16, "q_rank": 0, "nope_head_dim": 8, "rope_head_dim": 4, "value_head_dim": 8},
            "experts": {
                "num_experts": 6,
                "experts_per_token": 3,
                "intermediate_size": 16,
                "shared_size": 32,
                "first_dense": 2,
                "normalise": False,
                "scaling": 1.0,
            },
            "rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0},
            "tie_word_embeddings": True,
        },
    ),
}
DELTA = {"num_key_heads": 2, "num_value_heads": 4, "key_head_dim": 8, "value_head_dim": 12, "conv_kernel": 4}
SHARED = {**EXPERTS, "shared_size": 16, "shared_gate": True}
for config in CONFIGS["qwen3_next"]:
    config.update(delta=DELTA, experts=SHARED)
CASES = [(family, index) for family, configs in CONFIGS.items() for index in range(len(configs))]


def fields(family: str, index: int) -> dict[str, Any]:
    return {**SIZES, "family": family, **CONFIGS[family][index]}
