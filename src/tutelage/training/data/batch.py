"""The one batch layout: rows of packed tokens, for every objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Batch:
    """Packed rows; every tensor is [rows, length].

    tokens, positions (within the document), documents (0 is padding, 1.. numbers the documents of a row) and targets
    (what each position must predict) are int64; weights float32, 0 at positions without loss. extras: per-position
    arrays of an objective, by name. branches, int64, for documents with several branches: 0 for the shared part, 1..
    for each branch (see `model.mask.AttentionMask`).
    """

    tokens: Tensor
    positions: Tensor
    documents: Tensor
    targets: Tensor
    weights: Tensor
    extras: dict[str, Tensor] = field(default_factory=dict)
    branches: Tensor | None = None

    @property
    def rows(self) -> int:
        return self.tokens.shape[0]

    def to(self, device: torch.device) -> Batch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same batch in pinned memory, for asynchronous copies to a GPU."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            change(self.tokens),
            change(self.positions),
            change(self.documents),
            change(self.targets),
            change(self.weights),
            {name: change(value) for name, value in self.extras.items()},
            None if self.branches is None else change(self.branches),
        )
