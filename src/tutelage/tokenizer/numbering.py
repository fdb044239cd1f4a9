"""Which pieces of texts are the same: each gets a number, in the order in which they are met.

`split` may run in several threads, what it makes goes to `numbered` in the order of the texts: it gives the numbers of
the pieces, and those that are new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.tokenizer.cuts import Cuts
from tutelage.tokenizer.known import LONGEST, KnownStrings, Strings

Split = tuple[Any, NDArray[np.int64]]


@dataclass(frozen=True)
class Numbered:
    """Pieces of texts by their numbers: piece i has number `different[each[i]]`, or `each[i]` where that is None; there
    are `ends[t]` pieces up to the end of text t."""

    different: NDArray[np.int32] | None
    each: NDArray[Any]
    ends: NDArray[np.int64]


class PieceNumbers:
    """Numbers of the pieces between cuts."""

    at_once = 2_000_000  # characters: what numpy makes of them is some 20 times as large

    def __init__(self, cuts: Cuts) -> None:
        self._cuts = cuts
        self.forget()

    def forget(self) -> None:
        self._short = KnownStrings()
        self._long: dict[str, int] = {}
        self._count = self.size = 0

    def split(self, texts: Sequence[str]) -> Split:
        data, begins, ends = self._cuts.cut(texts)
        return Strings(np.frombuffer(data, np.uint8), begins).to_arrow().dictionary_encode(), ends

    def numbered(self, split: Split) -> tuple[Numbered, Strings]:
        pieces, ends = split
        met = Strings.of_arrow(pieces.dictionary)
        numbers = self._short.find(met)
        long = np.flatnonzero(met.sizes > LONGEST)
        names = met.some(long).texts()
        numbers[long] = [self._long.get(name, -1) for name in names]
        new = np.flatnonzero(numbers < 0)
        found = met.some(new)
        if len(new):
            numbers[new] = np.arange(self._count, self._count + len(new), dtype=np.int32)
            self._short.add(found, numbers[new])
            self._long.update(zip(names, numbers[long].tolist(), strict=True))
            self._count += len(new)
            self.size += len(found.data)
        return Numbered(numbers, _indices(pieces), ends), found


def _indices(made: Any) -> NDArray[np.int32]:
    """Of a dictionary array, without `to_numpy`, which imports pandas (as `pa.array` does) where it is installed."""
    indices = made.indices
    return np.frombuffer(indices.buffers()[1], np.int32)[indices.offset : indices.offset + len(indices)]


class CharacterNumbers:
    """Numbers of characters, each of which is a piece."""

    size, at_once = 0, 200_000

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._number = np.full(0x110000, -1, np.int32)
        self._count = 0

    def split(self, texts: Sequence[str]) -> Split:
        codes = np.frombuffer("".join(texts).encode("utf-32-le"), "<u4")
        return codes, np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))

    def numbered(self, split: Split) -> tuple[Numbered, Strings]:
        codes, ends = split
        numbers = self._number[codes]
        new = np.unique(codes[numbers < 0])
        if len(new):
            self._number[new] = np.arange(self._count, self._count + len(new))
            self._count += len(new)
            numbers = self._number[codes]
        return Numbered(None, numbers, ends), Strings.of(list(map(chr, new.tolist())))


class ByteNumbers:
    """Numbers of bytes, each of which is a piece; none is ever new."""

    size, at_once = 0, 200_000

    def forget(self) -> None: ...

    def split(self, texts: Sequence[str]) -> Split:
        parts = list(map(str.encode, texts))
        ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
        return np.frombuffer(b"".join(parts), np.uint8), ends

    def numbered(self, split: Split) -> tuple[Numbered, Strings]:
        return Numbered(None, *split), Strings.of([])
