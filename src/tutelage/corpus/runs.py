"""Sorted runs on disk: hashes and numbers that belong to them, more than fit into memory, gone through by hash.

Each task writes what it has as a run, sorted by hash. All that belongs to the hashes of one range is then read from all
runs together, a range at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.words import I64, U64

_SLICES = 256  # ranges of hashes that a run can be cut at
_TOGETHER = 1 << 21  # entries that are in memory at once
_EDGES = np.arange(1, _SLICES, dtype=np.uint64) << np.uint64(56)
U32 = NDArray[np.uint32]


def write_arrays(file: BinaryIO, *arrays: NDArray[Any]) -> None:
    """As `tofile` of each, which does not say why it fails where the disk is full."""
    for array in arrays:
        file.write(np.ascontiguousarray(array).data)


def save_array(path: Path, array: NDArray[Any]) -> None:
    """As `np.save`, which does not say so either."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))  # type: ignore[no-untyped-call]
        write_arrays(file, array)


@dataclass(frozen=True, slots=True)
class Run:
    """A file of hashes (ascending) and, behind them, columns of as many numbers. `starts`: where each slice begins."""

    path: Path
    starts: I64
    columns: int

    @classmethod
    def write(cls, path: Path, hashes: U64, *columns: NDArray[np.integer]) -> Run:
        """`hashes` are sorted; the columns hold numbers of 0 to 2^32."""
        starts = np.concatenate([[0], np.searchsorted(hashes, _EDGES), [len(hashes)]])
        with path.open("wb") as file:
            write_arrays(file, hashes, *(one.astype(np.uint32) for one in columns))
        return cls(path, starts, len(columns))

    def __len__(self) -> int:
        return int(self.starts[-1])

    def read(self, low: int, high: int) -> tuple[U64, list[U32]]:
        """Hashes and columns of the slices from `low` to `high`."""
        begin, end = int(self.starts[low]), int(self.starts[high])
        if begin == end:
            return np.zeros(0, np.uint64), [np.zeros(0, np.uint32)] * self.columns
        with self.path.open("rb") as file:
            file.seek(8 * begin)
            hashes = np.fromfile(file, np.uint64, end - begin)
            columns = []
            for number in range(self.columns):
                file.seek(8 * len(self) + 4 * (number * len(self) + begin))
                columns.append(np.fromfile(file, np.uint32, end - begin))
        return hashes, columns

    def hashes(self) -> Iterator[U64]:
        """All of them, some at a time."""
        for low, high in ranges([self]):
            yield self.read(low, high)[0]


@dataclass(frozen=True, slots=True)
class Place:
    """Names files in a folder, with a beginning of their own: workers remember what they have opened."""

    folder: Path
    own: str

    def __call__(self, name: str) -> Path:
        return self.folder / f"{self.own}-{name}"


@contextmanager
def place_in(work: Path | None, name: str) -> Iterator[Place]:
    """A place for files in a folder (None: in a temporary one), which are gone afterwards."""
    if work is None:
        with TemporaryDirectory() as folder:
            yield Place(Path(folder), name)
        return
    place = Place(work, f"{name}-{uuid4().hex}")
    try:
        yield place
    finally:
        for path in work.glob(f"{place.own}-*"):
            path.unlink()


def ranges(runs: Sequence[Run]) -> Iterator[tuple[int, int]]:
    """Ranges of slices, each with as many entries of all runs as are in memory at once, or a single slice."""
    sizes = sum((np.diff(run.starts) for run in runs), np.zeros(_SLICES, np.int64))
    begin, size = 0, 0
    for at, more in enumerate(sizes.tolist()):
        if at > begin and size + more > _TOGETHER:
            yield begin, at
            begin, size = at, 0
        size += more
    yield begin, _SLICES


def read_all(runs: Sequence[Run], low: int, high: int, columns: int) -> tuple[U64, list[U32]]:
    """What all runs have in a range, one behind the other."""
    parts = [run.read(low, high) for run in runs]
    hashes = np.concatenate([np.zeros(0, np.uint64), *(part for part, _ in parts)])
    return hashes, [np.concatenate([np.zeros(0, np.uint32), *(some[at] for _, some in parts)]) for at in range(columns)]
