"""Which pieces of texts are the same: each gets a number, in the order in which they are met.

`split` may run in several threads, what it makes goes to `numbered` in the order of the texts: it gives the number of
each piece, how many pieces there are up to the end of each text, and the pieces that are new.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.tokenizer.cuts import Cuts

Split = tuple[Any, NDArray[np.int64]]


class PieceNumbers:
    """Numbers of the pieces between cuts."""

    at_once = 2_000_000  # characters: what numpy makes of them is some 20 times as large

    def __init__(self, cuts: Cuts) -> None:
        self._cuts = cuts
        self.forget()

    def forget(self) -> None:
        self._known = _strings(np.zeros(1, np.int32), b"")
        self._index: dict[str, int] = {}

    @property
    def size(self) -> int:
        return int(self._known.nbytes)

    def split(self, texts: Sequence[str], apart: bool) -> Split:
        data, begins, ends = self._cuts.cut(texts)
        pieces = _strings(begins, data)
        return (pieces.dictionary_encode() if apart else pieces), ends

    def numbered(self, split: Split) -> tuple[NDArray[np.int32], NDArray[np.int64], list[str]]:
        pieces, ends = split
        if isinstance(pieces, pa.DictionaryArray):
            numbers, _, new = self.numbered((pieces.dictionary, ends))
            return numbers[_indices(pieces)], ends, new
        known = len(self._known)
        if known <= len(pieces):  # then it costs less to number them all anew
            made = pa.concat_arrays([self._known, pieces]).dictionary_encode()
            self._known = made.dictionary
            return _indices(made)[known:], ends, self._known[known:].to_pylist()
        made = pieces.dictionary_encode()
        index = self._index
        if len(index) < known:
            names = self._known[len(index) :].to_pylist()
            index.update(zip(names, range(len(index), known), strict=True))
        words = made.dictionary.to_pylist()
        new = [word for word in words if word not in index]
        index.update(zip(new, range(known, known + len(new)), strict=True))
        if new:
            data, begins = "".join(new).encode(), np.cumsum([0, *(len(word.encode()) for word in new)], dtype=np.int32)
            self._known = pa.concat_arrays([self._known, _strings(begins, data)])
        numbers = np.fromiter(map(index.__getitem__, words), np.int32, len(words))
        return numbers[_indices(made)], ends, new


def _strings(begins: NDArray[np.int32], data: bytes) -> Any:
    return pa.StringArray.from_buffers(len(begins) - 1, pa.py_buffer(begins), pa.py_buffer(data))


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

    def split(self, texts: Sequence[str], apart: bool) -> Split:
        codes = np.frombuffer("".join(texts).encode("utf-32-le"), "<u4")
        return codes, np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))

    def numbered(self, split: Split) -> tuple[NDArray[np.int32], NDArray[np.int64], list[str]]:
        codes, ends = split
        numbers = self._number[codes]
        new = np.unique(codes[numbers < 0])
        if len(new):
            self._number[new] = np.arange(self._count, self._count + len(new))
            self._count += len(new)
            numbers = self._number[codes]
        return numbers, ends, list(map(chr, new.tolist()))


class ByteNumbers:
    """Numbers of bytes, each of which is a piece; none is ever new."""

    size, at_once = 0, 200_000

    def forget(self) -> None: ...

    def split(self, texts: Sequence[str], apart: bool) -> Split:
        parts = list(map(str.encode, texts))
        ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
        return np.frombuffer(b"".join(parts), np.uint8), ends

    def numbered(self, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
        return *split, []
