"""Packing: examples of any length into rows of one length, almost without padding, never cut."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.store.errors import InputError
from tutelage.training.data.batch import Batch


@dataclass
class Segment:
    """One document: lists of equal length. targets[t] is what position t must predict, where weights[t] > 0."""

    tokens: Sequence[int]
    targets: Sequence[int]
    weights: Sequence[float]
    extras: dict[str, Sequence[float]] = field(default_factory=dict)


@dataclass
class Example:
    """Segments that must stay in one row (a chosen and a rejected answer, say); each is a document of its own."""

    segments: list[Segment]

    @property
    def length(self) -> int:
        return sum(len(segment.tokens) for segment in self.segments)


class Rows(Protocol):
    """Rows of one length to train on, however they are kept.

    sources: number of rows and weight of each source that is drawn from (see `training.position`); rows are numbered
    source after source.
    """

    def __len__(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def num_tokens(self) -> int: ...
    @property
    def sources(self) -> tuple[tuple[int, float], ...]: ...
    def batch(self, index: NDArray[np.int64]) -> Batch: ...
    def digest(self) -> str: ...


@dataclass
class PackedRows:
    """Rows ready for training, as numpy arrays [rows, length] (compact dtypes; `batch` widens them)."""

    tokens: NDArray[np.int32]
    positions: NDArray[np.int32]
    documents: NDArray[np.int32]
    targets: NDArray[np.int32]
    weights: NDArray[np.float32]
    extras: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def length(self) -> int:
        return self.tokens.shape[1]

    @property
    def sources(self) -> tuple[tuple[int, float], ...]:
        return ((len(self), 1.0),)

    @property
    def num_tokens(self) -> int:
        """Tokens that belong to a document."""
        return int((self.documents > 0).sum())

    def batch(self, index: NDArray[np.int64]) -> Batch:
        def wide(array: NDArray[np.int32]) -> torch.Tensor:
            return torch.from_numpy(array[index].astype(np.int64))

        return Batch(
            wide(self.tokens),
            wide(self.positions),
            wide(self.documents),
            wide(self.targets),
            torch.from_numpy(self.weights[index]),
            {name: torch.from_numpy(value[index]) for name, value in self.extras.items()},
        )

    def digest(self) -> str:
        """Fingerprint of the content: a checkpoint belongs to the data it was made on."""
        digest = hashlib.sha256(repr(self.tokens.shape).encode())
        named = {"tokens": self.tokens, "documents": self.documents, "targets": self.targets}
        for _, array in sorted({**named, "weights": self.weights, **self.extras}.items()):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def pack(examples: Sequence[Example], length: int, pad_id: int = 0) -> PackedRows:
    """Pack examples into rows of `length` tokens by best fit on decreasing length.

    Deterministic: equal input gives equal rows. Raises InputError if an example is longer than a row or there
    are no examples; what to drop or cut is the caller's decision and must be counted there.
    """
    if not examples:
        raise InputError("there is nothing to train on: no example was made from the data")
    bins = best_fit([example.length for example in examples], length)
    names = sorted({name for example in examples for segment in example.segments for name in segment.extras})
    shape = (len(bins), length)
    rows = PackedRows(
        tokens=np.full(shape, pad_id, np.int32),
        positions=np.zeros(shape, np.int32),
        documents=np.zeros(shape, np.int32),
        targets=np.zeros(shape, np.int32),
        weights=np.zeros(shape, np.float32),
        extras={name: np.zeros(shape, np.float32) for name in names},
    )
    for row, members in enumerate(bins):
        at, document = 0, 0
        for member in members:
            for segment in examples[member].segments:
                document += 1
                span = slice(at, at + len(segment.tokens))
                rows.tokens[row, span] = segment.tokens
                rows.positions[row, span] = np.arange(len(segment.tokens))
                rows.documents[row, span] = document
                rows.targets[row, span] = segment.targets
                rows.weights[row, span] = segment.weights
                for name, values in segment.extras.items():
                    rows.extras[name][row, span] = values
                at = span.stop
    return rows


def best_fit(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Bins of item numbers: each item, longest first, goes where the least room is left over, the oldest bin first.

    Rooms are whole numbers, so the open bins lie in one heap per room and a bit mask says which heaps are not empty:
    a million documents take seconds. Raises InputError for an item that fits no bin.
    """
    bins: list[list[int]] = []
    heaps: list[list[int]] = [[] for _ in range(capacity + 1)]
    open_rooms = 0  # bit r: a bin with room r is open
    for item in sorted(range(len(sizes)), key=lambda item: -sizes[item]):
        size = sizes[item]
        if size > capacity:
            raise InputError(f"an example of {size} tokens does not fit a row of {capacity}")
        fitting = open_rooms >> size
        if not fitting:
            number, room = len(bins), capacity - size
            bins.append([item])
        else:
            found = size + (fitting & -fitting).bit_length() - 1
            number, room = heapq.heappop(heaps[found]), found - size
            if not heaps[found]:
                open_rooms ^= 1 << found
            bins[number].append(item)
        if room > 0:
            heapq.heappush(heaps[room], number)
            open_rooms |= 1 << room
    return bins
