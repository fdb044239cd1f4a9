"""What incremental decoding remembers: keys and values that grow with the text, and states of fixed size."""

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
    """Rows of a batch that read and write the same row of a cache: neighbouring tokens of one text, each a row of the
    batch of its own, so that it is computed as if decoded alone (those behind it are past its position).

    rows [N]: the cache row of each. runs: (first row of the batch, how many, first cache row, how many); there are as
    many of both, which then belong together one by one, or one cache row for all.
    """

    rows: Tensor
    runs: tuple[tuple[int, int, int, int], ...]

    @classmethod
    def of(cls, counts: Sequence[int], device: torch.device) -> Self:
        """`counts[i]` rows of the batch for cache row i, one after the other."""
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
    """For every layer: tensors by name [rows, heads, length, dim] that grow, and states [rows, ...] that do not.

    A write goes to the index `position` of its row and a query sees the indices up to its own position.
    Rows of unequal length need nothing else: what right padding wrote past a row's end is overwritten by the
    decode step that reaches that position, before anything can attend to it. A state has no positions, so for it
    padding must be marked (`documents` 0), and rows of a batch cannot share one.
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
            # A state is added to at every token, so it is kept in float32 whatever the weights are.
            states.append({name: zeros(*shape, kind=torch.float32) for name, shape in state.items()})
        return cls(grown, states, length)

    @property
    def device(self) -> torch.device:
        return next(iter({**self.grown[0], **self.states[0]}.values())).device

    def write(self, layer: int, positions: Tensor, **given: Tensor) -> tuple[Tensor, ...]:
        """Store tensors [B, H, T, D] at `positions` [B, T].

        Returns the layer's whole tensors, in the order given, with a row for each of the batch.
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
        """`rows` rows from the `first` on and their first `length` positions, in the same memory: a write to the one is
        a write to the other. `start`: what will be written of every row begins at this position and has no gaps."""
        own, every = slice(first, first + rows), slice(None)
        grown = [{name: value[own, every, :length] for name, value in layer.items()} for layer in self.grown]
        states = [{name: value[own] for name, value in layer.items()} for layer in self.states]
        return KVCache(grown, states, length, start)

    def copy_row(self, source: int, target: int, length: int) -> None:
        """Write the first `length` positions of a row, and its states, over another row."""
        for layer in self.grown:
            for value in layer.values():
                value[target, :, :length] = value[source, :, :length]
        for layer in self.states:
            for value in layer.values():
                value[target] = value[source]

    def clear_states(self, row: int) -> None:
        """As before the first token of a text; what lies at positions needs no clearing."""
        for layer in self.states:
            for value in layer.values():
                value[row] = 0

    def widen(self, more: int) -> None:
        """Make room for `more` rows."""

        def wider(value: Tensor) -> Tensor:
            return torch.cat([value, value.new_zeros(more, *value.shape[1:])])

        self.grown = [{name: wider(value) for name, value in layer.items()} for layer in self.grown]
        self.states = [{name: wider(value) for name, value in layer.items()} for layer in self.states]

    def grow(self, more: int) -> None:
        """Make room for `more` positions."""
        self.grown = [{name: F.pad(value, (0, 0, 0, more)) for name, value in layer.items()} for layer in self.grown]
        self.length += more

    def select(self, rows: Tensor) -> None:
        """Keep only `rows` (LongTensor of row numbers), in that order."""
        self.grown = [{name: value[rows] for name, value in layer.items()} for layer in self.grown]
        self.states = [{name: value[rows] for name, value in layer.items()} for layer in self.states]


def cache_shapes(config: ModelConfig, layer: int) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, ...]]]:
    """What a layer remembers: name -> (heads, dim) for each token, and name -> shape once."""
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
    """What every further token of a text takes in all layers together."""
    shapes = [shape for layer in range(config.num_layers) for shape in cache_shapes(config, layer)[0].values()]
    return max(1, sum(heads * dim for heads, dim in shapes) * dtype.itemsize)
