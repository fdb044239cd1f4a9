"""Duplicates: exact ones are equal but for white space, near ones are found by MinHash and locality-sensitive hashing.

MinHash: Broder 1997. Banding: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4. Every
candidate is verified with the true Jaccard similarity to the document that is kept, so the hashing can only miss
a duplicate, never invent one, and a chain of documents, each like the one before it, does not fall into one.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.document import Document
from tutelage.corpus.scripts import signs_of, units_of

U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]

PERMUTATIONS = 128
_RECALL = 0.98  # wanted probability that a pair exactly at the threshold becomes a candidate
# A text of n words has n - k + 1 k-grams and one changed word spoils k of them, so short texts need short
# grams. Each pass compares texts of its own range of lengths (in words); the ranges overlap, so that no
# pair falls between them.
_PASSES = ((2, 0, 48), (5, 32, 2**62))  # (words in a gram, shortest text, longest text)
_SIGNS_TELL = 48  # words of a text up to which a sign more or less makes another text
_MIX = np.uint64(0x9E3779B97F4A7C15)
CHUNK_WORDS = 200_000  # n-grams are made for so many words at a time: 8 bytes a word, a dozen times over
_SETS_KEPT = 4096  # gram sets of documents that candidates were lately compared with


@dataclass(frozen=True)
class WordHashes:
    """Texts as word numbers, one behind the other: text i is `ids[starts[i] : starts[i + 1]]`.

    `table` has the 64-bit hash of each different word: 4 bytes a word of text instead of 8.
    """

    ids: U32
    table: U64
    starts: I64

    @property
    def lengths(self) -> I64:
        return np.diff(self.starts)


def hash_words(texts: Iterable[str], units: Callable[[str], list[str]] = units_of) -> WordHashes:
    """Number the words of each text (see `units_of`); the hash of a word is the same on every machine."""
    vocabulary: dict[str, int] = {}
    ids, starts = array("I"), array("q", [0])
    for text in texts:
        ids.extend([vocabulary.setdefault(word, len(vocabulary)) for word in units(text)])
        starts.append(len(ids))
    table = np.array([_hash(word) for word in vocabulary] or [0], dtype=np.uint64)
    return WordHashes(np.frombuffer(ids, np.uint32), table, np.frombuffer(starts, np.int64))


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8"), digest_size=8).digest(), "little")


def grams(hashes: WordHashes, size: int, begin: int = 0, end: int | None = None) -> tuple[U64, I64]:
    """All n-grams of texts `begin` to `end` (default: all) as (gram hashes, index of the text of each).

    Texts shorter than `size` have none. The memory is about a dozen times 8 bytes a word.
    """
    end = len(hashes.starts) - 1 if end is None else end
    words = hashes.table[hashes.ids[hashes.starts[begin] : hashes.starts[end]]]
    count = len(words) - size + 1
    if count <= 0:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    text = np.repeat(np.arange(begin, end), hashes.lengths[begin:end])
    value = np.zeros(count, np.uint64)
    for offset in range(size):
        value = _scramble(value * _MIX + words[offset : offset + count])
    inside = text[:count] == text[size - 1 :]
    return value[inside], text[:count][inside]


def chunks(hashes: WordHashes) -> Iterator[tuple[int, int]]:
    """Ranges of texts of about 200,000 words each (a longer text stands alone)."""
    begin = 0
    for end in range(1, len(hashes.starts)):
        if hashes.starts[end] - hashes.starts[begin] >= CHUNK_WORDS or end == len(hashes.starts) - 1:
            yield begin, end
            begin = end


def _scramble(value: U64) -> U64:
    """A bijective mix (murmur's finaliser), so that multiply-shift hashing sees well-spread bits."""
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    return value ^ (value >> np.uint64(29))


def exact_clusters(texts: Iterable[str]) -> I64:
    """For each text the index of the first text that is the same but for white space.

    Case, punctuation, operators and emoji tell texts apart: `a + b` and `a - b` are two.
    """
    first: dict[bytes, int] = {}
    keys = (hashlib.blake2b(" ".join(text.split()).encode("utf-8"), digest_size=16).digest() for text in texts)
    return np.array([first.setdefault(key, index) for index, key in enumerate(keys)], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """`kept_for`: for each text the index of the one that is kept in its place. `compared`: candidates of the hashing
    whose true similarity was looked up; `alike`: those that are duplicates."""

    kept_for: I64
    compared: int
    alike: int


def near_clusters(texts: Sequence[str], threshold: float) -> I64:
    """The clusters of `near_duplicates`."""
    return near_duplicates(texts, threshold).kept_for


def near_duplicates(texts: Sequence[str], threshold: float) -> NearDuplicates:
    """For each text the index of the text that is kept in its place: itself, or an earlier near-duplicate.

    Greedy, in the order of the texts: a text whose Jaccard similarity to a kept one is at least `threshold` goes
    to the first such one; every other text is kept. So each removed text is like the one kept for it, and no two
    kept ones are alike (as far as the hashing finds them). Short texts (up to 48 words) with other operators, emoji or
    like signs are not alike, whatever their words.
    """
    hashes = hash_words(texts)
    passes = [_Pass.make(texts, hashes, size, shortest, longest, threshold) for size, shortest, longest in _PASSES]
    kept_for = np.arange(len(texts))
    for index in range(len(texts)):
        found = [one.first_similar(index, threshold) for one in passes]
        kept_for[index] = min([index, *(match for match in found if match is not None)])
        if kept_for[index] == index:
            for one in passes:
                one.keep(index)
    compared, alike = sum(one.compared for one in passes), sum(one.found for one in passes)
    return NearDuplicates(kept_for, compared, alike)


def linked_clusters(texts: Sequence[str], threshold: float) -> I64:
    """For each text the index of the first text of its chain: near-duplicates, and theirs, and so on, are one cluster.

    So no two texts of different clusters are near-duplicates (as far as the hashing finds them).
    """
    hashes = hash_words(texts)
    passes = [_Pass.make(texts, hashes, size, shortest, longest, threshold) for size, shortest, longest in _PASSES]
    first = list(range(len(texts)))

    def root(index: int) -> int:
        while first[index] != index:
            first[index] = first[first[index]]
            index = first[index]
        return index

    for index in range(len(texts)):
        for one in passes:
            for other in one.candidates(index):
                if root(other) != root(index) and one.alike(other, index, threshold):
                    earlier, later = sorted((root(other), root(index)))
                    first[later] = earlier
            one.keep(index)
    return np.array([root(index) for index in range(len(texts))], dtype=np.int64)


class _Pass:
    """Texts of one range of lengths: band keys that occur more than once, and which kept texts have them."""

    def __init__(self, texts: Sequence[str], hashes: WordHashes, size: int, shared: dict[int, list[int]]) -> None:
        self._texts, self._lengths = texts, hashes.lengths
        self.compared = self.found = 0
        self._shared = shared  # text -> keys of its bands that another text has too
        self._buckets: dict[int, list[int]] = {}  # key of a band -> kept texts
        self._set = lru_cache(maxsize=_SETS_KEPT)(lambda index: np.unique(grams(hashes, size, index, index + 1)[0]))

    @classmethod
    def make(
        cls, texts: Sequence[str], hashes: WordHashes, size: int, shortest: int, longest: int, threshold: float
    ) -> _Pass:
        lengths = hashes.lengths
        chosen = (lengths >= max(size, shortest)) & (lengths <= longest)
        order = np.flatnonzero(chosen)
        bands, rows = banding(threshold)
        keys = np.empty((bands, len(order)), np.uint64)
        done = 0
        for begin, end in chunks(hashes):
            members = np.flatnonzero(chosen[begin:end]) + begin
            if len(members):
                signatures = minhash(_gram_sets(hashes, size, begin, end, members))
                keys[:, done : done + len(members)] = _band_keys(signatures, bands, rows)
                done += len(members)
        shared: dict[int, list[int]] = {}
        for band in keys:  # the keys of two bands never meet: `_band_keys` mixes the band's number in
            by_key = np.argsort(band, kind="stable")
            equal = band[by_key][1:] == band[by_key][:-1]
            twice = np.zeros(len(band), bool)
            twice[1:] |= equal
            twice[:-1] |= equal
            for place in by_key[twice].tolist():
                shared.setdefault(int(order[place]), []).append(int(band[place]))
        return cls(texts, hashes, size, shared)

    def first_similar(self, index: int, threshold: float) -> int | None:
        """The first kept text that is a near-duplicate of text `index`."""
        return next((kept for kept in self.candidates(index) if self.alike(kept, index, threshold)), None)

    def candidates(self, index: int) -> list[int]:
        """Kept texts that share a band with text `index`, in order."""
        return sorted({kept for key in self._shared.get(index, ()) for kept in self._buckets.get(key, ())})

    def alike(self, one: int, other: int, threshold: float) -> bool:
        self.compared += 1
        if _jaccard(self._set(one), self._set(other)) < threshold:
            return False
        long = min(self._lengths[one], self._lengths[other]) > _SIGNS_TELL
        same = bool(long) or signs_of(self._texts[one]) == signs_of(self._texts[other])
        self.found += same
        return same

    def keep(self, index: int) -> None:
        for key in self._shared.get(index, ()):
            self._buckets.setdefault(key, []).append(index)


def _gram_sets(hashes: WordHashes, size: int, begin: int, end: int, members: I64) -> list[U64]:
    """Distinct n-grams of each member among the texts `begin` to `end`."""
    values, owners = grams(hashes, size, begin, end)
    edges = np.searchsorted(owners, np.arange(begin, end + 1))
    return [values[edges[index - begin] : edges[index - begin + 1]] for index in members.tolist()]


def _band_keys(signatures: U32, bands: int, rows: int) -> U64:
    """[bands, sets]: one key for the `rows` values of each band."""
    keys = np.empty((bands, signatures.shape[1]), np.uint64)
    for band in range(bands):
        key = np.full(signatures.shape[1], band, np.uint64)
        for row in range(band * rows, band * rows + rows):
            key = _scramble(key * _MIX + signatures[row])
        keys[band] = key
    return keys


def minhash(sets: list[U64], permutations: int = PERMUTATIONS) -> U32:
    """MinHash signatures, [permutations, sets]: the least value of each set under each hash function."""
    generator = np.random.Generator(np.random.PCG64(20))
    multipliers = generator.integers(0, 2**63, permutations, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    shifts = generator.integers(0, 2**63, permutations, dtype=np.uint64)
    values = np.concatenate(sets)
    starts = np.concatenate([[0], np.cumsum([len(one) for one in sets])[:-1]])
    signatures = np.empty((permutations, len(sets)), np.uint32)
    for index, (multiplier, shift) in enumerate(zip(multipliers, shifts, strict=True)):
        # The high half: the low bits of a product depend on the low bits of its factors only.
        signatures[index] = np.minimum.reduceat((values * multiplier + shift) >> np.uint64(32), starts)
    return signatures


def banding(threshold: float) -> tuple[int, int]:
    """(bands, rows in a band): the most selective banding that still finds a pair at the threshold."""
    for rows in range(PERMUTATIONS, 0, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= _RECALL:
            return bands, rows
    return PERMUTATIONS, 1


def recall_curve(threshold: float) -> dict[float, float]:
    """Jaccard similarity -> probability that the hashing makes a pair of it a candidate, 1 - (1 - s^rows)^bands."""
    bands, rows = banding(threshold)
    points = sorted({0.3, 0.5, 0.7, 0.8, 0.9, round(threshold, 2)})
    return {point: 1 - (1 - point**rows) ** bands for point in points}


def _jaccard(left: U64, right: U64) -> float:
    if min(len(left), len(right)) < 0.1 * max(len(left), len(right)):
        return 0.0  # below the smallest threshold allowed
    common = len(np.intersect1d(left, right, assume_unique=True))
    return common / (len(left) + len(right) - common)


def by_preference(documents: Sequence[Document]) -> list[int]:
    """Places of documents in the order in which one of a cluster is kept: what knows most about itself, then the
    longest, then by id."""

    def key(index: int) -> tuple[bool, bool, int, str]:
        one = documents[index]
        return one.signature is None, one.label is None, -len(one.text), one.id

    return sorted(range(len(documents)), key=key)
