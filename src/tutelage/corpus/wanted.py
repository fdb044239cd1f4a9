"""Hashes that are looked for in the parts of a corpus, by several processes at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.runs import save_array
from tutelage.corpus.words import I64, U64

_FILTERED = 1 << 18  # hashes that are put into a filter at once
_MOST_BITS = 28  # a filter of 32 MB; more than 16 million hashes fill it up, and more others pass


@dataclass(frozen=True, slots=True)
class Filter:
    """A table of bits by the highest bits of a hash: all hashes that are looked for pass it, of others one in 16."""

    flags: NDArray[np.uint8]
    bits: int

    @classmethod
    def of(cls, hashes: Iterable[U64], count: int) -> Filter:
        """`count`: of all hashes; they come in any order, in any number of arrays."""
        bits = min(max(6, int(16 * count).bit_length()), _MOST_BITS)
        flags = np.zeros(1 << (bits - 3), np.uint8)
        for some in hashes:
            for begin in range(0, len(some), _FILTERED):
                places = some[begin : begin + _FILTERED] >> np.uint64(64 - bits)
                np.bitwise_or.at(flags, (places >> np.uint64(3)).astype(np.int64), _bit(places))
        return cls(flags, bits)

    def passed(self, hashes: U64) -> I64:
        """Places of the hashes that may be wanted."""
        places = hashes >> np.uint64(64 - self.bits)
        return np.flatnonzero(self.flags[(places >> np.uint64(3)).astype(np.int64)] & _bit(places))

    def saved(self, path: Path) -> SavedFilter:
        """For other processes: on disk, not sent to them with each task."""
        save_array(path, self.flags)
        return SavedFilter(path, self.bits)


@dataclass(frozen=True, slots=True)
class SavedFilter:
    """Where a `Filter` lies."""

    path: Path
    bits: int


def _bit(places: U64) -> NDArray[np.uint8]:
    return np.left_shift(np.uint8(1), (places & np.uint64(7)).astype(np.uint8))


@lru_cache(maxsize=2)
def opened_filter(saved: SavedFilter) -> Filter:
    """Mapped into memory: the processes of a machine share it."""
    return Filter(np.load(saved.path, mmap_mode="r"), saved.bits)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Hashes that are looked for, sorted, and a filter before them."""

    values: U64
    filter: Filter

    @classmethod
    def of(cls, hashes: U64) -> Wanted:
        values = np.unique(hashes)
        return cls(values, Filter.of([values], len(values)))

    def find(self, hashes: U64) -> tuple[I64, I64]:
        """(places of hashes that are wanted, which wanted one each is)."""
        maybe = self.filter.passed(hashes)
        at = np.searchsorted(self.values, hashes[maybe])
        at[at == len(self.values)] = 0
        here = self.values[at] == hashes[maybe] if len(self.values) else np.zeros(0, bool)
        return maybe[here], at[here]

    def saved(self, folder: Path | None, name: str) -> Wanted | Saved:
        """For other processes: on disk, not sent to them with each task."""
        if folder is None:
            return self
        own = uuid4().hex  # workers remember what they have opened
        path = folder / f"{name}-{own}-values.npy"
        save_array(path, self.values)
        return Saved(path, self.filter.saved(folder / f"{name}-{own}-filter.npy"))


@dataclass(frozen=True, slots=True)
class Saved:
    """Where a `Wanted` lies."""

    values: Path
    filter: SavedFilter


@lru_cache(maxsize=2)
def opened(saved: Saved) -> Wanted:
    """Mapped into memory: the processes of a machine share it."""
    return Wanted(np.load(saved.values, mmap_mode="r"), opened_filter(saved.filter))
