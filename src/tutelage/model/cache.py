"""What incremental decoding remembers: keys and values that grow with the text, and states of fixed size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.model.config import ModelConfig


@dataclass
class KVCache:
    """For every layer: tensors by name [rows, heads, length, dim] that grow, and states [rows, ...] that do not.

    A write goes to the index `position` of its row and a query sees the indices up to its own position.
    Rows of unequal length need nothing else: what right padding wrote past a row's end is overwritten by the
    decode step that reaches that position, before anything can attend to it. A state has no positions, so for it
    padding must be marked (`documents` 0).
    """

    grown: list[dict[str, Tensor]]
    states: list[dict[str, Tensor]]
    length: int
    start: int | None = None

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
        """Store tensors [B, H, T, D] at `positions` [B, T]; returns the layer's whole tensors, in the order given."""
        stored = self.grown[layer]
        for name, value in given.items():
            store = stored[name]
            if self.start is not None:  # a copy is twice as fast as a scatter
                store.narrow(2, self.start, value.shape[2]).copy_(value)
            else:
                store.scatter_(2, positions[:, None, :, None].expand_as(value), value.to(store.dtype))
        return tuple(stored[name] for name in given)

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
