"""The key-value cache of incremental decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from tutelage.model.config import ModelConfig


@dataclass
class KVCache:
    """Keys and values of every layer: two lists of [rows, num_kv_heads, length, head_dim].

    A write goes to the index `position` of its row and a query sees the indices up to its own position.
    Rows of unequal length need nothing else: what right padding wrote past a row's end is overwritten by the
    decode step that reaches that position, before anything can attend to it.
    """

    keys: list[Tensor]
    values: list[Tensor]

    @classmethod
    def empty(cls, config: ModelConfig, rows: int, length: int, dtype: torch.dtype, device: torch.device) -> Self:
        shape = (rows, config.num_kv_heads, length, config.dim_per_head)
        layers = range(config.num_layers)
        return cls(
            [torch.zeros(shape, dtype=dtype, device=device) for _ in layers],
            [torch.zeros(shape, dtype=dtype, device=device) for _ in layers],
        )

    @property
    def length(self) -> int:
        return self.keys[0].shape[2]

    def write(self, layer: int, keys: Tensor, values: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Store [B, H, T, D] at `positions` [B, T]; returns all keys and values of the layer."""
        index = positions[:, None, :, None].expand_as(keys)
        self.keys[layer].scatter_(2, index, keys.to(self.keys[layer].dtype))
        self.values[layer].scatter_(2, index, values.to(self.values[layer].dtype))
        return self.keys[layer], self.values[layer]

    def select(self, rows: Tensor) -> None:
        """Keep only `rows` (LongTensor of row numbers), in that order."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]
