"""Inputs shared by all layers of a forward pass."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tutelage.model.cache import KVCache
from tutelage.model.mask import AttentionMask

Rotary = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Step:
    """positions [B, T]; documents [B, T] or None; rotary: cosines and sines, of all layers and of local ones; the wide
    ones are those of a model that is only used (`rope.widened`)."""

    positions: Tensor
    documents: Tensor | None
    mask: AttentionMask
    rotary: Rotary | None
    local_rotary: Rotary | None
    cache: KVCache | None
    wide_rotary: Rotary | None = None
    wide_local_rotary: Rotary | None = None
