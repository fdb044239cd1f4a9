"""A run's place in its data: (seed, epoch, sample counter) and a permutation computed, not stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.training.batch import Batch
from tutelage.training.packing import PackedRows

_ROUNDS = 4


@dataclass
class DataState:
    """Position of a run: `sample` counts the rows taken since the start, over all ranks and epochs."""

    seed: int
    sample: int = 0


def permuted(index: NDArray[np.int64], size: int, key: str) -> NDArray[np.int64]:
    """Image of `index` under a pseudo-random permutation of range(size): Feistel network, cycle walking.

    Any part of an epoch's order can be computed without the rest, on any rank, after any number of steps.
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


def row_numbers(rows: int, state: DataState, count: int) -> NDArray[np.int64]:
    """The next `count` row numbers from `state`, across epochs; each epoch has its own order."""
    samples = np.arange(state.sample, state.sample + count, dtype=np.int64)
    numbers = np.empty(count, np.int64)
    for epoch in np.unique(samples // rows):
        inside = samples // rows == epoch
        numbers[inside] = permuted(samples[inside] % rows, rows, f"{state.seed}:{epoch}")
    return numbers


def parts_of_step(
    rows: PackedRows, state: DataState, batch_rows: int, parts: int, row: int = 0, of: int = 1
) -> Iterator[Batch]:
    """The next `batch_rows` rows from `state` in `parts` equal parts; of each part every `of`-th row from `row` on."""
    numbers = row_numbers(len(rows), state, batch_rows)
    size = -(-batch_rows // parts)
    for at in range(0, batch_rows, size):
        yield rows.batch(numbers[at : at + size][row::of])


def ordered_batches(rows: PackedRows, batch_rows: int, limit: int = 0) -> Iterator[Batch]:
    """One pass in order over the rows, or over `limit` of them spread evenly."""
    index = spread_evenly(len(rows), limit)
    for at in range(0, len(index), batch_rows):
        yield rows.batch(index[at : at + batch_rows])


def spread_evenly(count: int, limit: int = 0) -> NDArray[np.int64]:
    """Numbers of all of `count` rows, or of `limit` of them spread evenly."""
    if not limit or limit >= count:
        return np.arange(count, dtype=np.int64)
    return np.arange(limit, dtype=np.int64) * count // limit
