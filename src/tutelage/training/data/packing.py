"""Packing: examples of any length into fixed-length rows, with almost no padding and without truncation."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.store.errors import InputError
from tutelage.training.data.batch import Batch


@dataclass
class Segment:
    """One document: lists of equal length. targets[t] is the token to predict at position t, if weights[t] > 0.

    branches: for a document with several branches (see `branched`), 0 for the shared part, then 1, 2, ..
    """

    tokens: Sequence[int]
    targets: Sequence[int]
    weights: Sequence[float]
    extras: dict[str, Sequence[float]] = field(default_factory=dict)
    branches: Sequence[int] | None = None

    @property
    def shared(self) -> int:
        """Number of tokens shared by several branches."""
        return 0 if self.branches is None else list(self.branches).count(0)

    @property
    def positions(self) -> NDArray[np.int64]:
        """Positions of the tokens within their document; each branch continues from the shared part."""
        places = np.arange(len(self.tokens))
        if self.branches is None:
            return places
        branches, shared = np.asarray(self.branches), self.shared
        starts = np.searchsorted(branches, branches)  # start of each token's branch
        return np.where(branches > 0, places - starts + shared, places)


@dataclass
class Example:
    """Segments that must stay in one row (a chosen and a rejected answer, say); each is a document of its own."""

    segments: list[Segment]

    @property
    def length(self) -> int:
        return sum(len(segment.tokens) for segment in self.segments)


class Rows(Protocol):
    """Fixed-length training rows, independent of their storage.

    sources: number of rows and weight of each mixture source (see `training.position`); rows are numbered source by
    source.
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
    branches: NDArray[np.int32] | None = None

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
        """Number of non-padding tokens."""
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
            None if self.branches is None else wide(self.branches),
        )

    def digest(self) -> str:
        """Hash of the content, which ties a checkpoint to its data."""
        digest = hashlib.sha256(repr(self.tokens.shape).encode())
        named: dict[str, NDArray[Any]] = {"tokens": self.tokens, "documents": self.documents, "targets": self.targets}
        if self.branches is not None:
            named["branches"] = self.branches
        for _, array in sorted({**named, "weights": self.weights, **self.extras}.items()):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def pack(examples: Sequence[Example], length: int, pad_id: int = 0) -> PackedRows:
    """Pack examples into rows of `length` tokens by best fit on decreasing length.

    Deterministic. Raises InputError if an example is longer than a row or there are no examples; dropping or truncating
    is the caller's decision and must be counted there.
    """
    if not examples:
        raise InputError("there is nothing to train on: the data gave no examples")
    bins = best_fit([example.length for example in examples], length)
    segments = [segment for example in examples for segment in example.segments]
    names = sorted({name for segment in segments for name in segment.extras})
    shape = (len(bins), length)
    rows = PackedRows(
        tokens=np.full(shape, pad_id, np.int32),
        positions=np.zeros(shape, np.int32),
        documents=np.zeros(shape, np.int32),
        targets=np.zeros(shape, np.int32),
        weights=np.zeros(shape, np.float32),
        extras={name: np.zeros(shape, np.float32) for name in names},
        branches=np.zeros(shape, np.int32) if any(segment.branches is not None for segment in segments) else None,
    )
    for row, members in enumerate(bins):
        at, document = 0, 0
        for member in members:
            for segment in examples[member].segments:
                document += 1
                span = slice(at, at + len(segment.tokens))
                rows.tokens[row, span] = segment.tokens
                rows.positions[row, span] = segment.positions
                rows.documents[row, span] = document
                rows.targets[row, span] = segment.targets
                rows.weights[row, span] = segment.weights
                for name, values in segment.extras.items():
                    rows.extras[name][row, span] = values
                if rows.branches is not None and segment.branches is not None:
                    rows.branches[row, span] = segment.branches
                at = span.stop
    return rows


def branched(segments: Sequence[Segment]) -> Segment:
    """Merge several documents: their common prefix once, then the rest of each as a branch that sees no other branch.

    All targets are in the branches: the last token of a prompt has to predict the first one of every answer, so
    each branch starts with it. Targets and extras of the shared part are those of the first segment.
    """
    shared = 0
    for column in zip(*(zip(one.tokens, one.weights, strict=True) for one in segments), strict=False):
        if len({token for token, _ in column}) > 1 or any(weight > 0 for _, weight in column):
            break
        shared += 1

    def joined(lists: Sequence[Sequence[Any]]) -> list[Any]:
        return [*lists[0][:shared], *(value for values in lists for value in values[shared:])]

    return Segment(
        joined([one.tokens for one in segments]),
        joined([one.targets for one in segments]),
        joined([one.weights for one in segments]),
        {name: joined([one.extras[name] for one in segments]) for name in segments[0].extras},
        joined([[0] * shared + [number] * (len(one.tokens) - shared) for number, one in enumerate(segments, 1)]),
    )


def best_fit(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing: item indices in bins; each item goes into the fullest bin that has room, oldest first.

    Free space is an integer, so there is one heap of open bins per amount of space and a bit mask of non-empty heaps: a
    million documents take seconds. Raises InputError for an item that fits no bin.
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
