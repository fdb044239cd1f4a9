"""The costs of a model: parameters, FLOPs, bytes."""

from __future__ import annotations

from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.describe import (
    cache_values_per_token,
    forward_flops,
    multiplied_parameters,
    parameters,
    state_values,
)
from tutelage.training.memory import training_bytes


def model_facts(config: ModelConfig, context: int, rows: int = 16) -> dict[str, Any]:
    """Sizes and costs of a decoder at a context length.

    FLOPs: 2 per multiply-add (`model.describe.forward_flops`); training costs three times the forward pass.
    Bytes: float32.
    """
    parts = parameters(config)
    total = sum(parts.values())
    return {
        "parameters": total,
        "parameters_by_part": parts,
        "matmul_parameters": multiplied_parameters(config),
        "block_parameters": parts["attention"] + parts["mlp"] + parts["experts"],
        "embedding_share": (parts["embedding"] + parts["output_head"]) / total,
        "training_flops_per_token": 3 * forward_flops(config, context),
        "forward_flops_per_token": forward_flops(config, context),
        "kv_bytes_per_token": 4 * cache_values_per_token(config),
        "state_bytes": 4 * state_values(config),
        "weights_bytes": 4 * total,
        "training_bytes": training_bytes(config, rows, context),
    }


def with_vocabulary(model: ModelConfig, vocab_size: int) -> ModelConfig:
    """The model with its tokenizer's vocabulary, rounded up to a multiple of 64, if it does not set one."""
    if model.vocab_size:
        return model
    return model.with_(vocab_size=-(-vocab_size // 64) * 64)
