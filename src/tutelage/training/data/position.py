"""A run's position in its data: (seed, epoch, sample counter) and a permutation that is computed, not stored."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import Rows

Sources = tuple[tuple[int, float], ...]
BLOCK = 1024  # period of the mixture pattern, in draws
_ROUNDS = 4


@dataclass
class DataState:
    """Position of a run: `sample` counts the rows taken since the start, over all ranks and epochs."""

    seed: int
    sample: int = 0


def permuted(index: NDArray[np.int64], size: int, key: str) -> NDArray[np.int64]:
    """Image of `index` under a pseudo-random permutation of range(size): Feistel network, cycle walking.

    Any part of an epoch's order can be computed independently, on any rank, at any step.
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    low = np.uint64((1 << half) - 1)
    keys = [
        np.uint64(int.from_bytes(hashlib.sha256(f"{key}:{round_}".encode()).digest()[:8], "little"))
        for round_ in range(_ROUNDS)
    ]

    def once(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = value >> np.uint64(half), value & low
        for round_key in keys:
            left, right = right, left ^ (_mix(right + round_key) & low)
        return (left << np.uint64(half)) | right

    result = once(index.astype(np.uint64))
    while (outside := result >= size).any():
        result[outside] = once(result[outside])
    return result.astype(np.int64)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def row_numbers(sources: Sources, state: DataState, count: int) -> NDArray[np.int64]:
    """The next `count` row numbers from `state`, across epochs; each epoch of each source has its own order.

    sources: number of rows and weight of each; rows are numbered source after source.
    """
    samples = np.arange(state.sample, state.sample + count, dtype=np.int64)
    source, taken = drawn(tuple(weight for _, weight in sources), samples)
    numbers = np.empty(count, np.int64)
    first = 0
    for which, (rows, _) in enumerate(sources):
        name = f"{state.seed}:{which}" if which else str(state.seed)
        for epoch in np.unique(taken[source == which] // rows):
            inside = (source == which) & (taken // rows == epoch)
            numbers[inside] = first + permuted(taken[inside] % rows, rows, f"{name}:{epoch}")
        first += rows
    return numbers


def drawn(weights: tuple[float, ...], samples: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The source of each global sample, and the number of earlier draws from that source.

    A function of the sample index only, so it is stateless. The sources follow a fixed pattern of `BLOCK` draws that
    keeps each as close as possible to its share; weights are rounded to multiples of 1 / BLOCK.
    """
    if len(weights) == 1:
        return np.zeros_like(samples), samples
    pattern, before, counts = _pattern(weights)
    block, place = samples // BLOCK, samples % BLOCK
    source = pattern[place]
    return source, block * counts[source] + before[place]


@functools.cache
def _pattern(weights: tuple[float, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """One block: the source of each draw, its earlier draws in the block, and the draws per source in total."""
    exact = np.array(weights) / sum(weights) * BLOCK
    counts = np.maximum(np.floor(exact), 1).astype(np.int64)
    while counts.sum() < BLOCK:  # the remainder goes to those furthest below their share
        counts[np.argmax(exact - counts)] += 1
    while counts.sum() > BLOCK:  # and is taken from those furthest above it
        counts[np.argmax(np.where(counts > 1, counts - exact, -np.inf))] -= 1
    seen = np.zeros(len(weights), np.int64)
    pattern, before = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    for place in range(BLOCK):
        owed = (place + 1) * counts / BLOCK - seen
        owed[seen == counts] = -np.inf
        pattern[place] = chosen = int(np.argmax(owed))
        before[place] = seen[chosen]
        seen[chosen] += 1
    return pattern, before, counts


def epochs(sources: Sources, samples: int) -> list[float]:
    """The number of epochs of each source after this many samples."""
    which, taken = drawn(tuple(weight for _, weight in sources), np.arange(max(0, samples - BLOCK), samples))
    passes = []
    for source, (rows, _) in enumerate(sources):
        last = taken[which == source]
        passes.append(float(last[-1] + 1) / rows if len(last) else 0.0)
    return passes


def microbatches(
    rows: Rows, state: DataState, batch_rows: int, accumulation: int, rank: int = 0, ranks: int = 1
) -> Iterator[Batch]:
    """This data rank's rows of the next `batch_rows` rows from `state`, in `accumulation` equal microbatches."""
    numbers = row_numbers(rows.sources, state, batch_rows)
    for share in shares(batch_rows, accumulation, rank, ranks):
        yield rows.batch(numbers[share])


def shares(batch_rows: int, accumulation: int, rank: int = 0, ranks: int = 1) -> Iterator[NDArray[np.int64]]:
    """Indices within the step of this data rank's rows, for each of `accumulation` microbatches."""
    size = -(-batch_rows // accumulation)
    for at in range(0, batch_rows, size):
        yield np.arange(at, min(at + size, batch_rows), dtype=np.int64)[rank::ranks]


def ordered_batches(rows: Rows, batch_rows: int, limit: int = 0) -> Iterator[Batch]:
    """One pass in order over the rows, or over `limit` of them, evenly spaced."""
    index = evenly_spaced(len(rows), limit)
    for at in range(0, len(index), batch_rows):
        yield rows.batch(index[at : at + batch_rows])


def evenly_spaced(count: int, limit: int = 0) -> NDArray[np.int64]:
    """Indices of all of `count` rows, or of `limit` of them, evenly spaced."""
    if not limit or limit >= count:
        return np.arange(count, dtype=np.int64)
    return np.arange(limit, dtype=np.int64) * count // limit
