"""Who may attend to whom: causality, documents, padding, windows and distances, in one object."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from tutelage.model.blockwise import Visible
from tutelage.model.flex import block_mask


class AttentionMask:
    """The one statement of visibility in a forward pass; every layer asks it for what its kind of attention needs.

    positions [B, T]; documents [B, T]: a token sees only its own document (packed equals separate), 0 is padding.
    branches [B, T]: a document may go on in several ways (1, 2, ..) after what they share (0); a token sees what is
    shared and its own branch, whose positions count on from what is shared. So each branch reads as if it stood alone
    after the shared part. With a cache of `cached` positions a query sees the cache indices up to its own position.
    """

    def __init__(
        self, positions: Tensor, documents: Tensor | None, cached: int | None, branches: Tensor | None = None
    ) -> None:
        if branches is not None and (documents is None or cached is not None):
            raise ValueError("branches are parts of documents, and are not cached")
        self.positions, self.documents, self.cached, self.branches = positions, documents, cached, branches
        self._made: dict[int | None, Tensor | None] = {}
        self._blocks: dict[int | None, BlockMask] = {}
        self._visible: dict[tuple[int | None, torch.dtype], Visible] = {}
        self._added: dict[tuple[int | None, torch.dtype], Tensor] = {}

    def allowed(self, window: int | None = None) -> Tensor | None:
        """Boolean mask [B or 1, 1, T, S], True where attention may go; None means plain causal."""
        if window not in self._made:
            self._made[window] = self._make(window)
        return self._made[window]

    def explicit(self, window: int | None = None) -> Tensor:
        """`allowed`, never None: for kernels that know no causality of their own."""
        mask = self.allowed(window)
        if mask is not None:
            return mask
        length = self.positions.shape[1]
        return torch.ones(length, length, dtype=torch.bool, device=self.positions.device).tril()[None, None]

    def blocks(self, window: int | None = None) -> BlockMask:
        """`allowed` for attention in blocks, of packed rows without a cache."""
        if window not in self._blocks:
            assert self.documents is not None
            self._blocks[window] = block_mask(self.documents, window, self.positions, self.branches)
        return self._blocks[window]

    def visible(self, dtype: torch.dtype, window: int | None = None) -> Visible:
        """`allowed` for attention on a CPU in blocks, in the dtype of its scores."""
        if (window, dtype) not in self._visible:
            self._visible[window, dtype] = Visible.of(self.explicit(window), dtype)
        return self._visible[window, dtype]

    def added(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """`allowed` as what is added to scores, [B or 1, 1, T, S]: 0, or -inf where attention may not go."""
        if (window, dtype) not in self._added:
            mask = self.explicit(window)
            self._added[window, dtype] = mask.new_zeros(mask.shape, dtype=dtype).masked_fill_(~mask, -math.inf)
        return self._added[window, dtype]

    def distances(self) -> Tensor:
        """How many positions a key lies behind a query, [B, 1, T, S] float32 (negative where it lies ahead)."""
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
        if self.branches is not None:  # another branch may stand between: how far a key lies behind, positions tell
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
