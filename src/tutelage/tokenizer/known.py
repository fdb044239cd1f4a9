"""A table of short strings with their numbers, asked for many at a time by numpy.

A string of at most 15 bytes is two numbers of 64 bits, the last byte of which is its length: so equal numbers are equal
strings. Longer ones are not kept here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

LONGEST = 15  # bytes
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
_ODD, _OTHER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_FIRST_BITS = 16  # of the number of a slot, in a new table
_PROBES = 32
Keys = tuple[NDArray[np.uint64], NDArray[np.uint64]]


@dataclass(frozen=True)
class Strings:
    """Strings one behind the other: string i is `data[begins[i]:begins[i + 1]]`."""

    data: NDArray[np.uint8]
    begins: NDArray[np.int32]

    @classmethod
    def of_arrow(cls, array: Any) -> Strings:
        """Of a StringArray that begins at the first of its buffers."""
        _, offsets, data = array.buffers()
        begins = np.frombuffer(offsets, np.int32)[: len(array) + 1] if len(array) else np.zeros(1, np.int32)
        return cls(np.frombuffer(data or b"", np.uint8)[: begins[-1]], begins)

    @classmethod
    def of(cls, texts: Sequence[str]) -> Strings:
        parts = list(map(str.encode, texts))
        begins = np.cumsum([0, *map(len, parts)], dtype=np.int32)
        return cls(np.frombuffer(b"".join(parts), np.uint8), begins)

    @property
    def sizes(self) -> NDArray[np.int32]:
        """Bytes of each."""
        return np.diff(self.begins)

    def to_arrow(self) -> Any:
        return pa.StringArray.from_buffers(len(self), pa.py_buffer(self.begins), pa.py_buffer(self.data))

    def some(self, which: NDArray[np.intp]) -> Strings:
        chosen = pa.Array.from_buffers(pa.int64(), len(which), [None, pa.py_buffer(which.astype(np.int64))])
        return Strings.of_arrow(self.to_arrow().take(chosen))

    def texts(self) -> list[str]:
        found: list[str] = self.to_arrow().to_pylist()
        return found

    def __len__(self) -> int:
        return len(self.begins) - 1


class KnownStrings:
    """Numbers of short strings. What finds no place, because too many others want it, is not known: it will be met
    as a new one again."""

    def __init__(self) -> None:
        self._count = 0
        self._empty(_FIRST_BITS)

    def _empty(self, bits: int) -> None:
        self._bits = bits
        self._first, self._second = np.zeros(1 << bits, np.uint64), np.zeros(1 << bits, np.uint64)
        self._numbers = np.full(1 << bits, -1, np.int32)

    def find(self, strings: Strings) -> NDArray[np.int32]:
        """The number of each; -1 for what is not known."""
        found = np.full(len(strings), -1, np.int32)
        left = np.flatnonzero(strings.sizes <= LONGEST)
        first, second = _keys(strings, left)
        at = self._slots(first, second)
        for _ in range(_PROBES):
            numbers = self._numbers[at]
            same = (self._first[at] == first) & (self._second[at] == second)
            found[left[same]] = numbers[same]
            on = np.flatnonzero(~same & (numbers >= 0))
            if not len(on):
                break
            left, first, second, at = left[on], first[on], second[on], self._next(at[on])
        return found

    def add(self, strings: Strings, numbers: NDArray[np.int32]) -> None:
        """Short ones of these, which must differ from each other and be new."""
        short = np.flatnonzero(strings.sizes <= LONGEST)
        self._count += len(short)
        bits = max(self._bits, int(2 * self._count).bit_length())  # at most half of the slots are taken
        if bits > self._bits:
            kept = np.flatnonzero(self._numbers >= 0)
            known = self._first[kept], self._second[kept], self._numbers[kept]
            self._empty(bits)
            self._place(*known)
        self._place(*_keys(strings, short), numbers[short])

    def _place(self, first: NDArray[np.uint64], second: NDArray[np.uint64], numbers: NDArray[np.int32]) -> None:
        at = self._slots(first, second)
        for _ in range(_PROBES):
            free = np.flatnonzero(self._numbers[at] < 0)
            self._numbers[at[free]] = numbers[free]
            placed = self._numbers[at] == numbers  # of several that want a slot, one gets it
            where = at[placed]
            self._first[where], self._second[where] = first[placed], second[placed]
            on = np.flatnonzero(~placed)
            if not len(on):
                break
            first, second, numbers, at = first[on], second[on], numbers[on], self._next(at[on])

    def _slots(self, first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.intp]:
        return (((first ^ (second * _ODD)) * _OTHER) >> np.uint64(64 - self._bits)).astype(np.intp)

    def _next(self, at: NDArray[np.intp]) -> NDArray[np.intp]:
        return (at + 1) & ((1 << self._bits) - 1)


def _keys(strings: Strings, which: NDArray[np.intp]) -> Keys:
    padded = np.append(strings.data, np.zeros(16, np.uint8))
    eight = np.ndarray((len(padded) - 7,), "<u8", padded.data, strides=(1,))  # the eight bytes from each on
    begins, sizes = strings.begins[:-1][which], strings.sizes[which].astype(np.int64)
    first = eight[begins] & _MASKS[np.minimum(sizes, 8)]
    second = eight[begins + 8] & _MASKS[np.maximum(sizes - 8, 0)]
    return first, second | sizes.astype(np.uint64) << np.uint64(56)
