"""Vocabulary extension: new rows for embedding and head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tutelage.model.decoder import DecoderLM


@torch.no_grad()
def extend_embeddings(model: DecoderLM, pieces: Mapping[int, Sequence[int]]) -> None:
    """Add a row for each new id of `pieces`, in place: the mean of the rows of the ids that it replaces.

    For the embedding and an untied head. Other rows are unchanged; padding rows of a published vocabulary are used
    first (Gee et al. 2022, fast vocabulary transfer).
    """
    size = max(model.config.vocab_size, max(pieces) + 1)
    model.embed_tokens = _embedding(_extended(model.embed_tokens.weight, pieces, size))
    if not model.config.tie_word_embeddings:
        head = _extended(model.lm_head.weight, pieces, size)
        model.lm_head = nn.Linear(head.shape[1], size, bias=False, device="meta")
        model.lm_head.weight = nn.Parameter(head)
    model.config = model.config.with_(vocab_size=size)


def _extended(weight: Tensor, pieces: Mapping[int, Sequence[int]], size: int) -> Tensor:
    """The old rows followed by the new ones [size, hidden_size]."""
    longer = weight.new_zeros(size, weight.shape[1])
    longer[: len(weight)] = weight
    for index, old in pieces.items():
        longer[index] = weight[list(old)].mean(0)
    return longer


def _embedding(weight: Tensor) -> nn.Embedding:
    rows, width = weight.shape
    made = nn.Embedding(rows, width, device="meta")
    made.weight = nn.Parameter(weight)
    return made
