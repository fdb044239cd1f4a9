"""Duplicates: exact ones are equal but for white space, near ones are found by MinHash and locality-sensitive hashing.

Every candidate is verified with the true Jaccard similarity to the document that is kept, so the hashing can only miss
a duplicate, never invent one, and a chain of documents, each like the one before it, does not fall into one.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.minhash import Banding, Groups, band_keys, banding, minhash, shared_bands
from tutelage.corpus.scripts import signs_of, units_of
from tutelage.corpus.words import I64, U64, Splitter, Words, grams, hash_word, text_batches

# A text of n words has n - k + 1 k-grams and one changed word spoils k of them, so short texts need short
# grams. Each pass compares texts of its own range of lengths (in words); the ranges overlap, so that no
# pair falls between them.
PASSES = ((2, 0, 48), (5, 32, 2**62))  # (words in a gram, shortest text, longest text)
_SIGNS_TELL = 48  # words of a text up to which a sign more or less makes another text
_SETS_KEPT = 4096  # gram sets of documents that candidates were lately compared with


def exact_keys(texts: Iterable[str]) -> NDArray[np.void]:
    """16 bytes for each text; of texts that are the same but for white space the same.

    Case, punctuation, operators and emoji tell texts apart: `a + b` and `a - b` are two.
    """
    digests = (hashlib.blake2b(" ".join(text.split()).encode("utf-8"), digest_size=16).digest() for text in texts)
    return np.frombuffer(b"".join(digests), "V16")


def first_of_each(keys: NDArray[np.void]) -> I64:
    """For each key the place of the first one that is equal."""
    pairs = keys.view("<u8").reshape(-1, 2)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))  # stable: of equal keys the first comes first
    ordered = pairs[order]
    begins = np.flatnonzero(np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])[: len(keys)])
    first = np.empty(len(keys), np.int64)
    first[order] = np.repeat(order[begins], np.diff(np.append(begins, len(keys))))
    return first


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """`kept_for`: for each text the index of the one that is kept in its place. `compared`: candidates of the hashing
    whose true similarity was looked up; `alike`: those that are duplicates."""

    kept_for: I64
    compared: int
    alike: int


class GramSets(Protocol):
    """Of texts that are candidates: the number of their words, a hash of their signs, their grams (sorted)."""

    def length(self, text: int) -> int: ...

    def signs(self, text: int) -> int: ...

    def grams(self, text: int) -> U64: ...


@dataclass(frozen=True, slots=True)
class Pass:
    """Texts of one range of lengths, by grams of one size: which share bands, and the gram sets of those."""

    groups: Groups
    sets: GramSets


def near_clusters(texts: Sequence[str], threshold: float) -> I64:
    """The clusters of `near_duplicates`."""
    return near_duplicates(texts, threshold).kept_for


def near_duplicates(texts: Sequence[str], threshold: float) -> NearDuplicates:
    """For each text the index of the text that is kept in its place: itself, or an earlier near-duplicate; see
    `greedy`. For texts in memory."""
    return greedy(len(texts), _passes(texts, threshold), threshold)


def greedy(count: int, passes: Sequence[Pass], threshold: float) -> NearDuplicates:
    """In the order of the texts: a text whose Jaccard similarity to a kept one is at least `threshold` goes to the
    first such one; every other text is kept.

    So each removed text is like the one kept for it, and no two kept ones are alike (as far as the hashing finds them).
    Short texts (up to 48 words) with other operators, emoji or like signs are not alike, whatever their words.
    """
    searches = [_Search(one, threshold) for one in passes]
    kept_for = np.arange(count)
    for text in _members(passes):
        first = text
        for search in searches:
            first = min(first, next((kept for kept in search.candidates(text) if search.alike(kept, text)), text))
        kept_for[text] = first
        if first == text:
            for search in searches:
                search.keep(text)
    return NearDuplicates(kept_for, sum(one.compared for one in searches), sum(one.found for one in searches))


def linked_clusters(texts: Sequence[str], threshold: float) -> I64:
    """For each text the index of the first text of its chain: near-duplicates, and theirs, and so on, are one cluster.

    So no two texts of different clusters are near-duplicates (as far as the hashing finds them).
    """
    passes = _passes(texts, threshold)
    searches = [_Search(one, threshold) for one in passes]
    first = list(range(len(texts)))

    def root(index: int) -> int:
        while first[index] != index:
            first[index] = first[first[index]]
            index = first[index]
        return index

    for text in _members(passes):
        for search in searches:
            for other in search.candidates(text):
                if root(other) != root(text) and search.alike(other, text):
                    earlier, later = sorted((root(other), root(text)))
                    first[later] = earlier
            search.keep(text)
    return np.array([root(index) for index in range(len(texts))], dtype=np.int64)


def _members(passes: Sequence[Pass]) -> Iterator[int]:
    return map(int, np.unique(np.concatenate([one.groups.members for one in passes])))


class _Search:
    """Kept texts of a pass by the groups that they are in, as linked lists: some bytes a text, and no objects."""

    def __init__(self, one: Pass, threshold: float) -> None:
        texts, groups = one.groups.texts, one.groups.groups
        self.compared = self.found = 0
        self._threshold = threshold
        self._member = lru_cache(maxsize=2)(lambda text: np.searchsorted(texts, [text, text + 1]).tolist())
        self._text, self._group = array("q", texts.tobytes()), array("q", groups.tobytes())
        self._last = array("q", [-1]) * (int(groups.max(initial=-1)) + 1)  # kept membership of each group
        self._before = array("q", [-1]) * len(texts)  # the kept membership before it, of the same group
        self._sets = one.sets
        self._grams = lru_cache(maxsize=_SETS_KEPT)(one.sets.grams)

    def candidates(self, text: int) -> list[int]:
        """Kept texts that share a band with a text, in order."""
        found = set()
        for place in range(*self._member(text)):
            member = self._last[self._group[place]]
            while member >= 0:
                found.add(self._text[member])
                member = self._before[member]
        return sorted(found)

    def keep(self, text: int) -> None:
        for place in range(*self._member(text)):
            self._before[place] = self._last[self._group[place]]
            self._last[self._group[place]] = place

    def alike(self, one: int, other: int) -> bool:
        self.compared += 1
        if jaccard(self._grams(one), self._grams(other)) < self._threshold:
            return False
        long = min(self._sets.length(one), self._sets.length(other)) > _SIGNS_TELL
        same = long or self._sets.signs(one) == self._sets.signs(other)
        self.found += same
        return same


def jaccard(left: U64, right: U64) -> float:
    """Of two sorted sets."""
    if min(len(left), len(right)) < 0.1 * max(len(left), len(right)):
        return 0.0  # below the smallest threshold allowed
    common = len(np.intersect1d(left, right, assume_unique=True))
    return common / (len(left) + len(right) - common)


def splitter() -> Splitter:
    return Splitter(units_of)


def chosen_for(words: Words, which: int) -> I64:
    """Texts that a pass compares."""
    size, shortest, longest = PASSES[which]
    lengths = words.lengths
    return np.flatnonzero((lengths >= max(size, shortest)) & (lengths <= longest))


def keys_of(words: Words, which: int, by: Banding) -> tuple[I64, U64]:
    """(texts that the pass compares, their band keys, [bands, texts])."""
    chosen = chosen_for(words, which)
    values, owners = grams(words, PASSES[which][0])
    number = np.full(len(words.starts) - 1, -1)
    number[chosen] = np.arange(len(chosen))
    inside = number[owners] >= 0
    return chosen, band_keys(minhash(values[inside], number[owners[inside]], len(chosen), by.bands * by.rows), by)


def sets_of(words: Words, which: int, texts: I64) -> list[U64]:
    """The different grams of some texts, sorted."""
    values, owners = grams(words, PASSES[which][0])
    begins, ends = np.searchsorted(owners, texts), np.searchsorted(owners, texts, side="right")
    return [np.unique(values[begin:end]) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]


def signs_key(text: str) -> int:
    """A hash of the signs of a text."""
    return hash_word(" ".join(signs_of(text)))


@dataclass(slots=True)
class _InMemory:
    texts: Sequence[str]
    lengths: I64
    found: dict[int, U64] = field(default_factory=dict)

    def length(self, text: int) -> int:
        return int(self.lengths[text])

    def signs(self, text: int) -> int:
        return signs_key(self.texts[text])

    def grams(self, text: int) -> U64:
        return self.found[text]


def _passes(texts: Sequence[str], threshold: float) -> list[Pass]:
    by, split = banding(threshold), splitter()
    lengths: list[I64] = [np.zeros(0, np.int64)]
    keys: list[list[tuple[I64, U64]]] = [[(np.zeros(0, np.int64), np.zeros((by.bands, 0), np.uint64))] for _ in PASSES]
    for begin, words in _words_of(texts, split):
        lengths.append(words.lengths)
        for which in range(len(PASSES)):
            chosen, found = keys_of(words, which, by)
            keys[which].append((chosen + begin, found))
    sets = [_InMemory(texts, np.concatenate(lengths)) for _ in PASSES]
    passes = []
    for found_keys, mine in zip(keys, sets, strict=True):
        bands = np.concatenate([part for _, part in found_keys], axis=1)
        passes.append(Pass(shared_bands(iter(bands), np.concatenate([at for at, _ in found_keys])), mine))
    for begin, words in _words_of(texts, split) if any(len(one.groups.texts) for one in passes) else ():
        for which, one in enumerate(passes):
            wanted = one.groups.members
            wanted = wanted[(wanted >= begin) & (wanted < begin + len(words.lengths))]
            sets[which].found.update(zip(wanted.tolist(), sets_of(words, which, wanted - begin), strict=True))
    return passes


def _words_of(texts: Sequence[str], split: Splitter) -> Iterator[tuple[int, Words]]:
    begin = 0
    for batch in text_batches(texts):
        yield begin, split.words(batch)
        begin += len(batch)
