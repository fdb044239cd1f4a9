"""Block-sparse attention on a GPU (FlexAttention): blocks without a visible pair are skipped."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

BLOCK = 128  # block size
LEAST_HEAD = 16  # minimum head dimension of the kernel


def is_for(queries: Tensor, cached: int | None, documents: Tensor | None) -> bool:
    """Whether FlexAttention applies to queries [B, H, T, D]: on a GPU, packed rows of full blocks, without a cache."""
    length, dim = queries.shape[-2:]
    return queries.is_cuda and cached is None and documents is not None and length % BLOCK == 0 and dim >= LEAST_HEAD


def block_mask(documents: Tensor, window: int | None, positions: Tensor, branches: Tensor | None = None) -> BlockMask:
    """The block mask for `AttentionMask`'s rule on documents, positions and branches [B, T]."""

    def visible(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = (query >= key) & (documents[row, query] == documents[row, key])
        behind = query - key
        if branches is not None:
            branch = branches[row, key]
            seen = seen & ((branch == 0) | (branch == branches[row, query]))
            behind = positions[row, query] - positions[row, key]
        return seen if window is None else seen & (behind < window)

    rows, length = documents.shape
    made: BlockMask = create_block_mask(
        visible, rows, None, length, length, device=documents.device, BLOCK_SIZE=BLOCK, _compile=documents.is_cuda
    )
    return made


def attend_in_blocks(
    queries: Tensor, keys: Tensor, values: Tensor, mask: BlockMask, scale: float, softcap: float = 0.0
) -> Tensor:
    """Attention of queries [B, H, T, D] to keys and values [B, H_kv, T, D]; softcap c: c tanh(score / c)."""

    def capped(score: Tensor, *place: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    attend = _kernel(fused=queries.is_cuda)
    kind = values.dtype  # under autocast norms return float32
    out: Tensor = attend(
        queries.to(kind), keys.to(kind), values, score_mod=capped if softcap else None, block_mask=mask, scale=scale,
        enable_gqa=queries.shape[1] != keys.shape[1],
    )  # fmt: skip
    return out


@functools.cache
def _kernel(fused: bool) -> Any:
    """The compiled, fused kernel; uncompiled, all scores would be computed."""
    return torch.compile(flex_attention) if fused else flex_attention
