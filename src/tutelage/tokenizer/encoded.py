"""Ids of many texts in two arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Encoded:
    """Ids of several texts, one behind the other. ids [tokens], uint32; ends [texts]: where each text's ids end."""

    ids: NDArray[np.uint32]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Iterable[Sequence[int]]) -> Encoded:
        lists = list(texts)
        ids = np.fromiter((index for one in lists for index in one), np.uint32)
        return cls(ids, np.cumsum([len(one) for one in lists], dtype=np.int64))

    @classmethod
    def joined(cls, parts: Sequence[Encoded]) -> Encoded:
        """The texts of several, in their order."""
        if len(parts) == 1:
            return parts[0]
        before = np.cumsum([0, *(len(part.ids) for part in parts)])
        return cls(
            np.concatenate([np.zeros(0, np.uint32), *(part.ids for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.ends + at for part, at in zip(parts, before, strict=False))]),
        )

    def divided(self, first: int) -> tuple[Encoded, Encoded]:
        """The first texts, and the others."""
        end = int(self.ends[first - 1]) if first else 0
        return Encoded(self.ids[:end], self.ends[:first]), Encoded(self.ids[end:], self.ends[first:] - end)

    def ordered(self, places: NDArray[np.intp]) -> Encoded:
        """The texts in another order: the first of these becomes text `places[0]`, and so on."""
        lengths = np.empty(len(places), np.int64)
        lengths[places] = given = np.diff(self.ends, prepend=0)
        ends = np.cumsum(lengths)
        ids = np.empty_like(self.ids)
        ids[np.repeat((ends - lengths)[places] - (self.ends - given), given) + np.arange(len(ids))] = self.ids
        return Encoded(ids, ends)

    def __iter__(self) -> Iterator[list[int]]:
        begin = 0
        for end in self.ends.tolist():
            yield self.ids[begin:end].tolist()
            begin = end


def portions(texts: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """The texts in their order, in parts that are not much larger than `most` characters."""
    begin = size = 0
    for at, text in enumerate(texts):
        size += len(text)
        if size >= most:
            yield texts[begin : at + 1]
            begin, size = at + 1, 0
    if begin < len(texts):
        yield texts[begin:]
