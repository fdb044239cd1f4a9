"""Estimate the memory of a training run."""

from __future__ import annotations

from tutelage.model.blockwise import BLOCK, KEPT_LENGTH
from tutelage.model.config import ModelConfig
from tutelage.model.describe import parameters
from tutelage.training.cross_entropy import chunk_sizes

# Optimizer state values per weight: for matrices inside the blocks, and for the rest.
STATE = {"adamw": (2, 2), "muon": (1, 2), "lion": (1, 1), "soap": (2, 2), "schedule_free": (2, 2)}

# Bytes per frozen weight: a 4-bit code plus, per 64 weights, a 32-bit scale, or an 8-bit one with a 32-bit scale per
# 256 of these.
BYTES_PER_WEIGHT = {"none": 4.0, "nf4": 0.5 + 4 / 64, "nf4_double": 0.5 + 1 / 64 + 4 / (64 * 256)}


def training_bytes(
    config: ModelConfig, rows: int, context: int, optimizer: str = "adamw", activation_checkpointing: bool = False
) -> int:
    """Estimate of peak training memory in float32: weights, gradients, optimizer state, activations, logits.

    `rows` of `context` tokens are processed at once. SOAP's bases count as two square matrices per side.
    """
    parts = parameters(config)
    total, blocks = sum(parts.values()), parts["attention"] + parts["mlp"] + parts["experts"]
    matrix, other = STATE[optimizer]
    state = matrix * blocks + other * (total - blocks)
    if optimizer == "soap":
        state += 2 * config.num_layers * _squares_of_sides(config)
    tokens = rows * context
    block = activation_values(config) + probability_values(config, context)
    kept = config.num_layers * (config.hidden_size if activation_checkpointing else block)
    activations = tokens * (kept + (block if activation_checkpointing else 0) + 2 * config.hidden_size)
    # The loss is chunked (training/cross_entropy.py): logits of a chunk, logit gradients of a group, and the gradients
    # of hidden states and head.
    chunk, group = chunk_sizes(tokens, config.vocab_size, on_gpu=False)
    logits = (chunk + group) * config.vocab_size + (tokens + config.vocab_size) * config.hidden_size
    return 4 * (2 * total + state + activations + logits)


def frozen_bytes(config: ModelConfig, quantisation: str = "none") -> int:
    """Bytes of the frozen weights under adapters: float32, or 4.5 (`nf4`) or 4.13 (`nf4_double`) bits per weight for
    the matrices inside the blocks."""
    parts = parameters(config)
    total, blocks = sum(parts.values()), parts["attention"] + parts["mlp"] + parts["experts"]
    return 4 * (total - blocks) + round(BYTES_PER_WEIGHT[quantisation] * blocks)


def activation_values(config: ModelConfig) -> int:
    """Values per token that a block stores for its backward pass: inputs, queries, keys, values, attention output and
    feed-forward activations."""
    queries, keys = config.num_heads * config.dim_per_head, config.num_kv_heads * config.dim_per_head
    return 6 * config.hidden_size + 3 * queries + 4 * keys + 4 * config.intermediate_size


def probability_values(config: ModelConfig, context: int) -> int:
    """Attention probabilities per token that blockwise attention (model/blockwise.py) stores: half a row, plus the part
    of a block beyond the diagonal."""
    return config.num_heads * (context + BLOCK) // 2 if BLOCK < context <= KEPT_LENGTH else 0


def _squares_of_sides(config: ModelConfig) -> int:
    hidden, queries = config.hidden_size, config.num_heads * config.dim_per_head
    keys, wide = config.num_kv_heads * config.dim_per_head, config.intermediate_size
    sides = [(queries, hidden), (keys, hidden), (keys, hidden), (hidden, queries)]
    sides += [(wide, hidden)] * (2 if config.gated else 1) + [(hidden, wide)]
    return sum(a * a + b * b for a, b in sides)
