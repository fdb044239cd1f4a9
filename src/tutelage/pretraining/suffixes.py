"""A suffix array over tokens, to find a passage in a corpus in logarithmic time.

Built by prefix doubling (Manber & Myers 1993), each round sorting only what is not yet distinguished (Larsson &
Sadakane 2007), in NumPy. Suffixes that agree for `DEPTH` tokens are in arbitrary order: no longer passage is looked up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DEPTH = 2048  # tokens; longer passages are truncated to it for lookup
Tokens = NDArray[Any]
Places = NDArray[np.int64]


def suffix_array(tokens: Tokens) -> Places:
    """Positions of all suffixes in the order of their tokens. Memory: about 40 bytes per token while it is built."""
    count = len(tokens)
    if not count:
        return np.zeros(0, np.int64)
    order = np.argsort(tokens, kind="stable")
    rank = np.empty(count, np.int64)
    rank[order] = _groups(tokens[order])
    width = 1
    while width < DEPTH:
        shared = _shared(rank[order])
        if not len(shared):
            break
        mine = order[shared]
        behind = mine + width
        second = np.where(behind < count, rank[np.minimum(behind, count - 1)], -1)
        first = rank[mine]
        sorted_ = np.lexsort((second, first))
        order[shared] = mine[sorted_]
        first, second = first[sorted_], second[sorted_]
        new = np.ones(len(shared), bool)
        new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
        rank[order[shared]] = shared[np.maximum.accumulate(np.where(new, np.arange(len(shared)), 0))]
        width *= 2
    return order


def longest_match(tokens: Tokens, suffixes: Tokens, passage: Tokens) -> tuple[int, int]:
    """(length of the longest prefix of `passage` that occurs in `tokens`, position of an occurrence)."""
    at = _first_not_below(tokens, suffixes, passage)
    best = (0, 0)
    for near in (at - 1, at):
        if 0 <= near < len(suffixes):
            place = int(suffixes[near])
            best = max(best, (_common(tokens, place, passage), place))
    return best


def occurrences(tokens: Tokens, suffixes: Tokens, passage: Tokens) -> tuple[int, int]:
    """The range of suffixes that begin with `passage`: [begin, end)."""
    return _first_not_below(tokens, suffixes, passage), _first_not_below(tokens, suffixes, passage, beyond=True)


def _groups(values: Tokens) -> Places:
    """For sorted values: the index at which the run of equal values begins."""
    starts = np.ones(len(values), bool)
    starts[1:] = values[1:] != values[:-1]
    return np.maximum.accumulate(np.where(starts, np.arange(len(values)), 0))


def _shared(ranks: Places) -> Places:
    """Indices of ranks that more than one suffix has; equal ones are adjacent."""
    same = ranks[1:] == ranks[:-1]
    return np.flatnonzero(np.concatenate([same, [False]]) | np.concatenate([[False], same]))


def _first_not_below(tokens: Tokens, suffixes: Tokens, passage: Tokens, beyond: bool = False) -> int:
    """The first suffix that is not less than the passage, by binary search; `beyond`: nor begins with it."""
    low, high = 0, len(suffixes)
    while low < high:
        middle = (low + high) // 2
        place = int(suffixes[middle])
        common = _common(tokens, place, passage)
        if common == len(passage):
            less = beyond
        else:
            less = place + common >= len(tokens) or tokens[place + common] < passage[common]
        low, high = (middle + 1, high) if less else (low, middle)
    return low


def _common(tokens: Tokens, place: int, passage: Tokens) -> int:
    """Number of tokens from that position on that equal those of the passage."""
    there = tokens[place : place + len(passage)]
    differs = np.flatnonzero(there != passage[: len(there)])
    return int(differs[0]) if len(differs) else len(there)
