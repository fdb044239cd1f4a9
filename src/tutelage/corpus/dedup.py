"""Duplicates: exact ones by a hash of the words, near ones by MinHash and locality-sensitive hashing.

MinHash: Broder 1997. Banding: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4. Every
candidate pair is verified with the true Jaccard similarity, so the hashing can only miss a pair, never
invent one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.document import Document
from tutelage.corpus.sentences import words_of

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

PERMUTATIONS = 128
_RECALL = 0.98  # wanted probability that a pair exactly at the threshold becomes a candidate
# A text of n words has n - k + 1 k-grams and one changed word spoils k of them, so short texts need short
# grams. Each pass compares texts of its own range of lengths (in words); the ranges overlap, so that no
# pair falls between them.
_PASSES = ((2, 0, 48), (5, 32, 2**62))  # (words in a gram, shortest text, longest text)
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class WordHashes:
    """Texts as 64-bit word hashes, one behind the other: text i is `words[starts[i] : starts[i + 1]]`."""

    words: U64
    starts: I64

    @property
    def lengths(self) -> I64:
        return np.diff(self.starts)


def hash_words(texts: list[str]) -> WordHashes:
    """Hash the lower-cased words of each text; the hash is the same on every machine."""
    vocabulary: dict[str, int] = {}
    ids: list[int] = []
    starts = [0]
    for text in texts:
        ids += [vocabulary.setdefault(word, len(vocabulary)) for word in words_of(text)]
        starts.append(len(ids))
    table = np.array([_hash(word) for word in vocabulary] or [0], dtype=np.uint64)
    return WordHashes(table[np.array(ids, dtype=np.int64)], np.array(starts, dtype=np.int64))


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8"), digest_size=8).digest(), "little")


def grams(hashes: WordHashes, size: int) -> tuple[U64, I64]:
    """All n-grams as (gram hashes, index of the text of each); texts shorter than `size` have none."""
    count = len(hashes.words) - size + 1
    if count <= 0:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    text = np.repeat(np.arange(len(hashes.starts) - 1), hashes.lengths)
    value = np.zeros(count, np.uint64)
    for offset in range(size):
        value = _scramble(value * _MIX + hashes.words[offset : offset + count])
    inside = text[:count] == text[size - 1 :]
    return value[inside], text[:count][inside]


def _scramble(value: U64) -> U64:
    """A bijective mix (murmur's finaliser), so that multiply-shift hashing sees well-spread bits."""
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    return value ^ (value >> np.uint64(29))


def exact_clusters(texts: list[str]) -> I64:
    """For each text the index of the first text with the same words, in the same order."""
    first: dict[bytes, int] = {}
    keys = (hashlib.sha256(" ".join(words_of(text)).encode("utf-8")).digest() for text in texts)
    return np.array([first.setdefault(key, index) for index, key in enumerate(keys)], dtype=np.int64)


def near_clusters(texts: list[str], threshold: float) -> I64:
    """For each text the smallest index in its cluster of near-duplicates (Jaccard >= `threshold`)."""
    hashes = hash_words(texts)
    parents = np.arange(len(texts))
    for size, shortest, longest in _PASSES:
        chosen = np.flatnonzero((hashes.lengths >= max(size, shortest)) & (hashes.lengths <= longest))
        if len(chosen) < 2:
            continue
        sets = _gram_sets(hashes, size, chosen)
        for left, right in _similar_pairs(sets, threshold):
            _union(parents, int(chosen[left]), int(chosen[right]))
    return np.array([_find(parents, index) for index in range(len(texts))], dtype=np.int64)


def _gram_sets(hashes: WordHashes, size: int, chosen: I64) -> list[U64]:
    """Sorted distinct n-grams of each chosen text."""
    values, owners = grams(hashes, size)
    edges = np.searchsorted(owners, np.arange(len(hashes.starts)))
    return [np.unique(values[edges[index] : edges[index + 1]]) for index in chosen]


def _similar_pairs(sets: list[U64], threshold: float) -> list[tuple[int, int]]:
    """Verified pairs among the candidates that share a band of their signatures."""
    signatures = minhash(sets)
    bands, rows = banding(threshold)
    candidates: set[tuple[int, int]] = set()
    for band in range(bands):
        keys = np.zeros(len(sets), np.uint64)
        for row in range(band * rows, band * rows + rows):
            keys = _scramble(keys * _MIX + signatures[row])
        order = np.argsort(keys, kind="stable")
        bounds = np.flatnonzero(np.diff(keys[order])) + 1
        for bucket in np.split(order, bounds):
            if len(bucket) > 1:
                # Each with the first and with the one before it: clusters grow by union, so all pairs need
                # not be met.
                members = bucket.tolist()
                candidates.update((members[0], member) for member in members[1:])
                candidates.update(pairwise(members))
    return [pair for pair in sorted(candidates) if _jaccard(sets[pair[0]], sets[pair[1]]) >= threshold]


def minhash(sets: list[U64], permutations: int = PERMUTATIONS) -> U64:
    """MinHash signatures, [permutations, sets]: the least value of each set under each hash function."""
    generator = np.random.Generator(np.random.PCG64(20))
    multipliers = generator.integers(0, 2**63, permutations, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    shifts = generator.integers(0, 2**63, permutations, dtype=np.uint64)
    values = np.concatenate(sets)
    starts = np.concatenate([[0], np.cumsum([len(one) for one in sets])[:-1]])
    signatures = np.empty((permutations, len(sets)), np.uint64)
    for index, (multiplier, shift) in enumerate(zip(multipliers, shifts, strict=True)):
        # The high half: the low bits of a product depend on the low bits of its factors only.
        signatures[index] = np.minimum.reduceat((values * multiplier + shift) >> np.uint64(24), starts)
    return signatures


def banding(threshold: float) -> tuple[int, int]:
    """(bands, rows in a band): the most selective banding that still finds a pair at the threshold."""
    for rows in range(PERMUTATIONS, 0, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= _RECALL:
            return bands, rows
    return PERMUTATIONS, 1


def _jaccard(left: U64, right: U64) -> float:
    if min(len(left), len(right)) < 0.1 * max(len(left), len(right)):
        return 0.0  # below the smallest threshold allowed
    common = len(np.intersect1d(left, right, assume_unique=True))
    return common / (len(left) + len(right) - common)


def _find(parents: I64, index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = int(parents[index])
    return index


def _union(parents: I64, left: int, right: int) -> None:
    left, right = _find(parents, left), _find(parents, right)
    parents[max(left, right)] = min(left, right)


def by_preference(documents: list[Document]) -> list[Document]:
    """Order in which one of a cluster is kept: what knows most about itself, then the longest, then by id."""
    return sorted(documents, key=lambda one: (one.signature is None, one.label is None, -len(one.text), one.id))
