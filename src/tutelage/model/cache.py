"""The KV cache of incremental decoding: keys and values per position, and recurrent states of fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.model.config import ModelConfig


@dataclass(frozen=True)
class Sharing:
    """Batch rows that share a cache row: consecutive tokens of one text, each its own batch row, so that each is
    computed as if decoded alone (later ones are beyond its position).

    rows [N]: the cache row of each batch row. runs: (first batch row, count, first cache row, count), with equal counts
    for a one-to-one mapping, or a single cache row for all.
    """

    rows: Tensor
    runs: tuple[tuple[int, int, int, int], ...]

    @classmethod
    def of(cls, counts: Sequence[int], device: torch.device) -> Self:
        """`counts[i]` consecutive batch rows for cache row i."""
        runs: list[tuple[int, int, int, int]] = []
        first = 0
        for row, count in enumerate(counts):
            before = runs[-1] if runs else None
            if count == 1 and before is not None and before[1] == before[3]:
                runs[-1] = (before[0], before[1] + 1, before[2], before[3] + 1)
            else:
                runs.append((first, count, row, 1))
            first += count
        rows = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        return cls(rows.to(device), tuple(runs))


@dataclass
class KVCache:
    """Per layer: tensors by name [rows, heads, length, dim] that grow with the text, and states [rows, ...] that do
    not.

    A write goes to the index `position` of its row and a query sees the indices up to its own position. Rows of unequal
    length require nothing else: entries written by right padding past a row's end are overwritten by the decode step
    that reaches that position, before they become visible. A state has no positions, so padding must be marked
    (`documents` 0), and batch rows cannot share one.
    """

    grown: list[dict[str, Tensor]]
    states: list[dict[str, Tensor]]
    length: int
    start: int | None = None
    sharing: Sharing | None = None

    @classmethod
    def empty(cls, config: ModelConfig, rows: int, length: int, dtype: torch.dtype, device: torch.device) -> Self:
        def zeros(*shape: int, kind: torch.dtype = dtype) -> Tensor:
            return torch.zeros(rows, *shape, dtype=kind, device=device)

        grown: list[dict[str, Tensor]] = []
        states: list[dict[str, Tensor]] = []
        for layer in range(config.num_layers):
            growing, state = cache_shapes(config, layer)
            grown.append({name: zeros(heads, length, dim) for name, (heads, dim) in growing.items()})
            # A state accumulates over all tokens, so it is float32 for any weight dtype.
            states.append({name: zeros(*shape, kind=torch.float32) for name, shape in state.items()})
        return cls(grown, states, length)

    @property
    def device(self) -> torch.device:
        return next(iter({**self.grown[0], **self.states[0]}.values())).device

    def write(self, layer: int, positions: Tensor, **given: Tensor) -> tuple[Tensor, ...]:
        """Store tensors [B, H, T, D] at `positions` [B, T].

        Returns the layer's full tensors in the same order, with one row per batch row.
        """
        stored, sharing = self.grown[layer], self.sharing
        for name, value in given.items():
            store = stored[name]
            if sharing is not None:
                store[sharing.rows, :, positions[:, 0]] = value[:, :, 0].to(store.dtype)
            elif self.start is not None:  # a copy is twice as fast as a scatter
                store.narrow(2, self.start, value.shape[2]).copy_(value)
            else:
                store.scatter_(2, positions[:, None, :, None].expand_as(value), value.to(store.dtype))
        return tuple(stored[name] if sharing is None else stored[name][sharing.rows] for name in given)

    def view(self, first: int, rows: int, length: int, start: int | None = None) -> KVCache:
        """A view of `rows` rows from `first` and their first `length` positions, sharing memory. `start`: all rows will
        be written contiguously from this position."""
        own, every = slice(first, first + rows), slice(None)
        grown = [{name: value[own, every, :length] for name, value in layer.items()} for layer in self.grown]
        states = [{name: value[own] for name, value in layer.items()} for layer in self.states]
        return KVCache(grown, states, length, start)

    def copy_row(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of a row, and its states, to another row."""
        for layer in self.grown:
            for value in layer.values():
                value[target, :, :length] = value[source, :, :length]
        for layer in self.states:
            for value in layer.values():
                value[target] = value[source]

    def clear_states(self, row: int) -> None:
        """Reset rows for a new text; only states require clearing."""
        for layer in self.states:
            for value in layer.values():
                value[row] = 0

    def widen(self, more: int) -> None:
        """Add `more` rows."""

        def wider(value: Tensor) -> Tensor:
            return torch.cat([value, value.new_zeros(more, *value.shape[1:])])

        self.grown = [{name: wider(value) for name, value in layer.items()} for layer in self.grown]
        self.states = [{name: wider(value) for name, value in layer.items()} for layer in self.states]

    def grow(self, more: int) -> None:
        """Add `more` positions."""
        self.grown = [{name: F.pad(value, (0, 0, 0, more)) for name, value in layer.items()} for layer in self.grown]
        self.length += more

    def select(self, rows: Tensor) -> None:
        """Keep only `rows` (LongTensor of row numbers), in that order."""
        self.grown = [{name: value[rows] for name, value in layer.items()} for layer in self.grown]
        self.states = [{name: value[rows] for name, value in layer.items()} for layer in self.states]


def cache_shapes(config: ModelConfig, layer: int) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, ...]]]:
    """Cache layout of a layer: name -> (heads, dim) per token, and name -> shape of states."""
    if config.layer_type(layer) == "delta":
        delta = config.delta
        assert delta is not None
        channels = 2 * delta.num_key_heads * delta.key_head_dim + delta.num_value_heads * delta.value_head_dim
        return {}, {
            "recent": (channels, delta.conv_kernel - 1),
            "memory": (delta.num_value_heads, delta.key_head_dim, delta.value_head_dim),
        }
    if config.latent is not None:
        return {"latent": (1, config.latent.kv_rank), "rotated": (1, config.latent.rope_head_dim)}, {}
    shape = (config.num_kv_heads, config.dim_per_head)
    return {"keys": shape, "values": shape}, {}


def bytes_per_token(config: ModelConfig, dtype: torch.dtype) -> int:
    """Cache size per token over all layers."""
    shapes = [shape for layer in range(config.num_layers) for shape in cache_shapes(config, layer)[0].values()]
    return max(1, sum(heads * dim for heads, dim in shapes) * dtype.itemsize)
