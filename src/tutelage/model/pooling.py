"""What a classification head reads of each document: one state, made of those of its tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.model.config import ModelConfig


def pooled(hidden: Tensor, row: Tensor, last: Tensor, length: Tensor, config: ModelConfig) -> Tensor:
    """States [documents, hidden_size] of hidden states [rows, T, hidden_size], in their dtype; means are in float32.

    Of each document [documents] int64: its row, the index of its last token there, and of how many tokens it is, which
    stand side by side. Nothing else of a row is read, so neither padding nor another document has a say.
    `config.pooling`: the last token's state, the mean of all, or the mean of the last `pool_tokens`.
    """
    if config.pooling == "last":
        return hidden[row, last]
    count = length if config.pooling == "mean" else length.clamp(max=config.pool_tokens)
    before = count.cumsum(0) - count  # tokens that are read of the documents before
    steps = torch.arange(int(count.sum()), device=hidden.device)
    at = torch.repeat_interleave(row * hidden.shape[1] + last + 1 - count - before, count) + steps
    states = hidden.flatten(0, 1)[at].float()
    # One document after the other: the same sums on every machine and in every company.
    return torch.segment_reduce(states, "mean", lengths=count, axis=0).to(hidden.dtype)
