"""The tokens that begin at many places of a text, found for all places at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

END = 0xFF
"""A byte that no text has: behind each word it stops the search."""
_MOST_CELLS = 1 << 24  # of the table: 64 MB
Walk = Iterator[tuple[int, NDArray[np.intp], NDArray[np.int32]]]


class Trie:
    """Tokens as a tree of bytes. `roots[i]`: from which of two roots token i hangs. Raises ValueError where the table
    would be too large."""

    def __init__(self, tokens: Sequence[bytes], ids: Sequence[int], roots: Sequence[int]) -> None:
        kept = [at for at, token in enumerate(tokens) if token and END not in token]
        data = np.frombuffer(b"".join(tokens[at] for at in kept), np.uint8)
        sizes = np.fromiter((len(tokens[at]) for at in kept), np.int64, len(kept))
        begins = np.cumsum(sizes) - sizes
        node = np.fromiter((roots[at] for at in kept), np.int64, len(kept))
        edges, count = [np.zeros((0, 2), np.int64)], 2
        for depth in range(int(sizes.max(initial=0))):
            longer = np.flatnonzero(sizes > depth)
            keys, place = np.unique(node[longer] << 8 | data[begins[longer] + depth], return_inverse=True)
            node[longer] = count + place
            edges.append(np.stack([keys, count + np.arange(len(keys))], 1))
            count += len(keys)
        keys, children = np.concatenate(edges).T
        # Nodes with children, which have a row in the table, are numbered first.
        inner = np.union1d([0, 1], keys >> 8).astype(np.int64)
        if len(inner) << 8 > _MOST_CELLS:
            raise ValueError("a large vocabulary")
        number = np.full(count, -1, np.int32)
        number[inner] = np.arange(len(inner))
        leaves = np.flatnonzero(number < 0)
        number[leaves] = np.arange(len(inner), count)
        self._rows = len(inner)
        self._next = np.full(len(inner) << 8, -1, np.int32)
        self._next[number[keys >> 8].astype(np.int64) << 8 | keys & 0xFF] = number[children]
        self._id = np.full(count, -1, np.int32)
        self._id[number[node]] = np.array(ids, np.int32)[kept]

    def walk(self, data: NDArray[np.uint8], begins: NDArray[np.intp], roots: NDArray[Any]) -> Walk:
        """For each length of tokens in turn: the length, which of the places `begins` have such a token (in their
        order), and its id. Behind each word END must stand in `data`."""
        which, at, node = np.arange(len(begins)), begins, roots.astype(np.int64)
        length = 0
        while len(which):
            length += 1
            node = self._next[node << 8 | data[at]]
            found = self._id[node]
            some = np.flatnonzero((found >= 0) & (node >= 0))
            yield length, which[some], found[some]
            on = np.flatnonzero((node >= 0) & (node < self._rows))
            which, at, node = which[on], at[on] + 1, node[on].astype(np.int64)
