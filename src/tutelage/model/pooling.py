"""Pooling for classification heads: one state per document."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.model.config import ModelConfig


def pooled(hidden: Tensor, row: Tensor, last: Tensor, length: Tensor, config: ModelConfig) -> Tensor:
    """States [documents, hidden_size] of hidden states [rows, T, hidden_size], in their dtype; means are in float32.

    Per document [documents] int64: its row, the index of its last token, and its number of (contiguous) tokens. Padding
    and other documents are not read. `config.pooling`: the last token's state, the mean of all, or the mean of the last
    `pool_tokens`.
    """
    if config.pooling == "last":
        return hidden[row, last]
    count = length if config.pooling == "mean" else length.clamp(max=config.pool_tokens)
    before = count.cumsum(0) - count  # tokens of the preceding documents
    steps = torch.arange(int(count.sum()), device=hidden.device)
    at = torch.repeat_interleave(row * hidden.shape[1] + last + 1 - count - before, count) + steps
    states = hidden.flatten(0, 1)[at].float()
    # One document at a time: the order of summation is independent of machine and batch.
    return torch.segment_reduce(states, "mean", lengths=count, axis=0).to(hidden.dtype)
