"""The attention mask: causality, documents, padding, windows and distances in one object."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from tutelage.model.blockwise import Visible
from tutelage.model.flex import block_mask


class AttentionMask:
    """The visibility rule of a forward pass, in the representation that each kind of attention requires.

    positions [B, T]; documents [B, T]: a token sees only its own document (packed equals separate), 0 is padding.
    branches [B, T]: a document may have several continuations (1, 2, ..) of a shared prefix (0); a token sees the
    prefix and its own branch, whose positions continue from the prefix, so each branch is computed as if it were alone
    after the prefix. With a cache of `cached` positions a query sees the cache indices up to its own position.
    """

    def __init__(
        self, positions: Tensor, documents: Tensor | None, cached: int | None, branches: Tensor | None = None
    ) -> None:
        if branches is not None and (documents is None or cached is not None):
            raise ValueError("branches require documents and do not support a cache")
        self.positions, self.documents, self.cached, self.branches = positions, documents, cached, branches
        self._made: dict[int | None, Tensor | None] = {}
        self._blocks: dict[int | None, BlockMask] = {}
        self._visible: dict[tuple[int | None, torch.dtype], Visible] = {}
        self._added: dict[tuple[int | None, torch.dtype], Tensor] = {}

    def allowed(self, window: int | None = None) -> Tensor | None:
        """Boolean mask [B or 1, 1, T, S], True for visible keys; None means plain causal."""
        if window not in self._made:
            self._made[window] = self._make(window)
        return self._made[window]

    def explicit(self, window: int | None = None) -> Tensor:
        """`allowed`, never None, for kernels without a causal mode."""
        mask = self.allowed(window)
        if mask is not None:
            return mask
        length = self.positions.shape[1]
        return torch.ones(length, length, dtype=torch.bool, device=self.positions.device).tril()[None, None]

    def blocks(self, window: int | None = None) -> BlockMask:
        """`allowed` as a block mask, for packed rows without a cache."""
        if window not in self._blocks:
            assert self.documents is not None
            self._blocks[window] = block_mask(self.documents, window, self.positions, self.branches)
        return self._blocks[window]

    def visible(self, dtype: torch.dtype, window: int | None = None) -> Visible:
        """`allowed` for blockwise attention on a CPU, in the dtype of its scores."""
        if (window, dtype) not in self._visible:
            self._visible[window, dtype] = Visible.of(self.explicit(window), dtype)
        return self._visible[window, dtype]

    def added(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """`allowed` as an additive bias [B or 1, 1, T, S]: 0 for visible keys, else -inf."""
        if (window, dtype) not in self._added:
            mask = self.explicit(window)
            self._added[window, dtype] = mask.new_zeros(mask.shape, dtype=dtype).masked_fill_(~mask, -math.inf)
        return self._added[window, dtype]

    def distances(self) -> Tensor:
        """Distance from a query back to a key [B, 1, T, S] float32 (negative for later keys)."""
        keys = self.positions if self.cached is None else torch.arange(self.cached, device=self.positions.device)[None]
        return (self.positions[:, :, None] - keys[:, None, :])[:, None].float()

    def _make(self, window: int | None) -> Tensor | None:
        positions, length = self.positions, self.positions.shape[1]
        if self.cached is not None:
            behind = positions[:, :, None] - torch.arange(self.cached, device=positions.device)
            mask = behind >= 0
            return (mask if window is None else mask & (behind < window))[:, None]
        if self.documents is None and (window is None or window >= length):
            return None
        index = torch.arange(length, device=positions.device)
        behind = index[:, None] - index
        mask = behind >= 0
        if self.branches is not None:  # with branches, distances follow from positions, not indices
            behind = positions[:, :, None] - positions[:, None, :]
        if window is not None:
            mask = mask & (behind < window)
        if self.documents is None:
            return mask[None, None]
        mask = (self.documents[:, :, None] == self.documents[:, None, :]) & mask
        if self.branches is not None:
            keys = self.branches[:, None, :]
            mask &= (keys == 0) | (keys == self.branches[:, :, None])
        return mask[:, None]


def alibi_slopes(num_heads: int) -> Tensor:
    """Slope of each head's penalty on distance, [num_heads] float32 (Press et al. 2021, section 3)."""

    def powers(heads: int) -> list[float]:
        return [2 ** (-8 * (index + 1) / heads) for index in range(heads)]

    whole = 2 ** math.floor(math.log2(num_heads))
    slopes = powers(whole)
    if whole < num_heads:
        slopes += powers(2 * whole)[0::2][: num_heads - whole]
    return torch.tensor(slopes)
