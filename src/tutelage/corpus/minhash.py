"""MinHash signatures and their banding: which texts are worth comparing.

Signatures by fast similarity sketching (Dahlgaard, Knudsen, Thorup 2017, arXiv:1704.04370): they estimate the Jaccard
similarity like as many independent hash functions (Broder 1997), at the price of one or a few. Banding: Leskovec,
Rajaraman, Ullman, Mining of Massive Datasets, section 3.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.words import I64, U64, scramble

PERMUTATIONS = 128
_RECALL = 0.98  # wanted probability that a pair exactly at the threshold becomes a candidate
_ROUND = np.uint64(0x9E3779B97F4A7C15)
_LOW, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)
_EMPTY = np.uint64(2**64 - 1)
# Rounds after which sets that are done are left out: looking costs as much as a few rounds.
_LOOKED_AT = frozenset([0, 1, 2, 3, 5, 7, 11, 15, 23, 31, 47, 63, 95, 127, 191, 255, 383, 511, 1023])


@dataclass(frozen=True, slots=True)
class Banding:
    """A pair of similarity s becomes a candidate with the probability 1 - (1 - s^rows)^bands."""

    bands: int
    rows: int

    def recall(self, similarity: float) -> float:
        return float(1 - (1 - similarity**self.rows) ** self.bands)


def banding(threshold: float) -> Banding:
    """The most selective banding of at most 128 values that still finds a pair at the threshold (in 98 of 100)."""
    for rows in range(PERMUTATIONS, 0, -1):
        found = Banding(PERMUTATIONS // rows, rows)
        if found.recall(threshold) >= _RECALL:
            return found
    return Banding(PERMUTATIONS, 1)


def recall_curve(threshold: float, by: Banding | None = None) -> dict[float, float]:
    """Jaccard similarity -> probability that a pair of it becomes a candidate."""
    by = by or banding(threshold)
    points = sorted({0.3, 0.5, 0.7, 0.8, 0.9, round(threshold, 2)})
    return {point: by.recall(point) for point in points}


def minhash(values: U64, owners: I64, sets: int, size: int = PERMUTATIONS) -> U64:
    """Signatures, [sets, size], of sets whose elements are `values`, each in the set `owners` (ascending).

    Two signatures agree in a place with the probability of the Jaccard similarity of their sets. In each of the first
    `size` rounds an element falls into one place, in the others all into the place whose turn it is; the least value of
    the earliest round counts. A set is done when no place is empty: after one round, if it is large. Empty sets have
    2^64 - 1 everywhere.
    """
    signatures = np.full((sets, size), _EMPTY)
    flat = signatures.reshape(-1)
    sets_left = np.unique(owners)
    for number in range(2 * size):
        hashes = scramble(scramble(values + np.uint64((number + 1) * int(_ROUND) % 2**64)))
        ranked = (np.uint64(number) << _SHIFT) | (hashes & _LOW)
        if number < size:
            place = ((hashes >> _SHIFT) * np.uint64(size)) >> _SHIFT
        else:
            place = np.full(len(values), number - size, np.uint64)
        np.minimum.at(flat, owners * size + place.astype(np.int64), ranked)
        if number in _LOOKED_AT:
            unfinished = (signatures[sets_left] == _EMPTY).any(axis=1)
            sets_left = sets_left[unfinished]
            left = np.zeros(sets, bool)
            left[sets_left] = True
            values, owners = values[left[owners]], owners[left[owners]]
            if not len(values):
                break
    return signatures


def band_keys(signatures: U64, by: Banding) -> U64:
    """[bands, sets]: one key for the values of each band; keys of two bands never meet."""
    keys = np.empty((by.bands, len(signatures)), np.uint64)
    for band in range(by.bands):
        key = np.full(len(signatures), band, np.uint64)
        for row in range(band * by.rows, band * by.rows + by.rows):
            key = scramble(key * _ROUND + signatures[:, row])
        keys[band] = key
    return keys


@dataclass(frozen=True, slots=True)
class Groups:
    """Texts that share a band with another: text `texts[i]` (ascending) is in group `groups[i]`."""

    texts: I64
    groups: NDArray[np.int64]

    @property
    def members(self) -> I64:
        """The texts that are in any group."""
        return np.unique(self.texts)


def shared_bands(bands: Iterable[U64], texts: I64) -> Groups:
    """Groups of texts with the same key in a band; the same group of several bands is one. `bands`: one at a time, the
    keys of `texts`."""
    hashes, members, sizes = [], [], []
    for keys in bands:
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        same = ordered[1:] == ordered[:-1]  # as the key before it
        shared = np.zeros(len(keys), bool)
        shared[1:] = same
        begins = ~shared
        shared[:-1] |= same
        found = texts[order[shared]]
        lengths = np.diff(np.append(np.flatnonzero(begins[shared]), len(found)))
        if len(found):
            starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
            hashes.append(np.add.reduceat(scramble(scramble(found.astype(np.uint64) + _ROUND)), starts))
            members.append(found)
            sizes.append(lengths)
    if not members:
        return Groups(np.zeros(0, np.int64), np.zeros(0, np.int64))
    member, size = np.concatenate(members), np.concatenate(sizes)
    _, first = np.unique(np.concatenate(hashes), return_index=True)
    wanted = np.zeros(len(size), bool)
    wanted[first] = True
    text = member[np.repeat(wanted, size)]
    group = np.repeat(np.arange(len(first)), size[wanted])
    order = np.lexsort((group, text))
    return Groups(text[order], group[order])
