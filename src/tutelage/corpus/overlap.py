"""How much of some documents stands in others: by 8-grams of words and signs, and by whole sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.scripts import words_and_signs
from tutelage.corpus.shelf import Shelf, View
from tutelage.corpus.words import I64, U64, Splitter, grams, sentence_hashes

_GRAM = 8
# A gram or sentence that so many texts have (and so large a share of them) is a phrase of the kind, not a copy ...
_COMMON_TEXTS, _COMMON_SHARE = 5, 0.02
# ... unless little else is there.
_OWN_SHARE = 0.3
_SHIFT = 1 << 31
_BLOCK_BYTES = 24_000_000
_FILTERED = 1 << 18  # hashes that are put into a filter at once
Mapped = Callable[[Callable[[View], Any], Sequence[View]], Iterable[Any]]
"""Runs a function of each part, in order: in this process, or in several."""


def overlaps(
    documents: Shelf, others: Shelf, own: bool = False, mapped: Mapped = map, work: Path | None = None
) -> NDArray[np.float64]:
    """For each document the share of it that stands in other texts, 0 to 1.

    The larger of: share of its word 8-grams that occur there, share of its words in sentences that occur there whole.
    The pieces of one text count as one text. What at least five other texts, and 2 % of them, have in common is not
    counted, unless it is more than 70 % of the document. `own`: the documents are among the others; their own text
    does not count. In memory are about 25 bytes for each word of 24 MB of `documents`; the others are gone through in
    batches, by `mapped`, whose processes find what they look for in the folder `work`; once for every 24 MB.
    """
    blocks = [documents.rows[begin:end] for begin, end in _blocks(documents)]
    found = [_overlaps(documents.only(rows), others, own, mapped, work) for rows in blocks]
    return np.concatenate([np.zeros(0), *found])


def _blocks(documents: Shelf) -> Iterator[tuple[int, int]]:
    """Ranges of documents of so much text as is looked for at once."""
    block = np.cumsum(documents.facts.bytes[documents.rows], dtype=np.int64) // _BLOCK_BYTES
    edges = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(documents)]
    return ((begin, end) for begin, end in pairwise(edges) if end > begin)


def _overlaps(documents: Shelf, others: Shelf, own: bool, mapped: Mapped, work: Path | None) -> NDArray[np.float64]:
    things = _wanted(documents)
    look = partial(
        _met, wanted=tuple(one.saved(work, name) for one, name in zip(things, ("grams", "sentences"), strict=True))
    )
    groups, counts = 0, [np.zeros(len(one.values), np.int32) for one in things]
    for texts, met in mapped(look, others.views()):
        groups += texts
        for count, (at, times) in zip(counts, met, strict=True):
            count[at] += times
    limit = max(_COMMON_TEXTS, math.ceil(_COMMON_SHARE * groups))
    shares = []
    for cut in _cut(documents):  # once more: hashes and owners of all of them would be three times as much
        for values, owners, weight, one, count in zip(cut.values, cut.owners, cut.weights, things, counts, strict=True):
            found = count[np.searchsorted(one.values, values)] - own
            total = np.maximum(np.bincount(owners, weight, cut.texts), 1)
            shares.append([
                np.bincount(owners[seen], weight[seen], cut.texts) / total for seen in (found > 0, found >= limit)
            ])  # fmt: skip
    grams_, common_grams = np.concatenate(shares[::2], axis=1)
    sentences, common_sentences = np.concatenate(shares[1::2], axis=1)
    usual = np.maximum(common_grams, common_sentences) <= 1 - _OWN_SHARE
    return np.maximum(
        np.maximum(grams_ - np.where(usual, common_grams, 0), sentences - np.where(usual, common_sentences, 0)), 0.0
    )


@dataclass(frozen=True, slots=True)
class _Cut:
    """A batch of so many texts as their 8-grams and their sentences: of each its hash, its text, and what it weighs
    (a gram one, a sentence its words)."""

    texts: int
    values: tuple[U64, U64]
    owners: tuple[I64, I64]
    weights: tuple[I64, I64]


def _cut(documents: Shelf) -> Iterator[_Cut]:
    split = _splitter()
    for _, batch in documents.batches():
        words = split.words(batch.column("text"))
        values, owners = grams(words, _GRAM)
        hashes, texts, lengths = sentence_hashes(words)
        yield _Cut(len(batch), (values, hashes), (owners, texts), (np.ones(len(values), np.int64), lengths))


def _wanted(documents: Shelf) -> tuple[Wanted, Wanted]:
    """The grams and the sentences that are looked for."""
    grams_, sentences = zip(*(cut.values for cut in _cut(documents)), strict=True)
    return Wanted.of(np.concatenate(grams_)), Wanted.of(np.concatenate(sentences))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Hashes that are looked for, sorted, and a filter that 15 of 16 others do not pass: a table of bits, by the
    highest bits of a hash."""

    values: U64
    filter: NDArray[np.uint8]
    bits: int

    @classmethod
    def of(cls, hashes: U64) -> Wanted:
        values = np.unique(hashes)
        bits = max(6, int(16 * len(values)).bit_length())
        flags = np.zeros(1 << (bits - 3), np.uint8)
        for begin in range(0, len(values), _FILTERED):
            places = values[begin : begin + _FILTERED] >> np.uint64(64 - bits)
            np.bitwise_or.at(flags, (places >> np.uint64(3)).astype(np.int64), _bit(places))
        return cls(values, flags, bits)

    def find(self, hashes: U64) -> tuple[I64, I64]:
        """(places of hashes that are wanted, which wanted one each is)."""
        places = hashes >> np.uint64(64 - self.bits)
        maybe = np.flatnonzero(self.filter[(places >> np.uint64(3)).astype(np.int64)] & _bit(places))
        at = np.searchsorted(self.values, hashes[maybe])
        at[at == len(self.values)] = 0
        here = self.values[at] == hashes[maybe] if len(self.values) else np.zeros(0, bool)
        return maybe[here], at[here]

    def saved(self, folder: Path | None, name: str) -> Wanted | Saved:
        """For other processes: on disk, not sent to them with each task."""
        if folder is None:
            return self
        own = uuid4().hex  # workers remember what they have opened
        saved = Saved(folder / f"{name}-{own}-values.npy", folder / f"{name}-{own}-filter.npy", self.bits)
        np.save(saved.values, self.values)
        np.save(saved.filter, self.filter)
        return saved


@dataclass(frozen=True, slots=True)
class Saved:
    """Where a `Wanted` lies."""

    values: Path
    filter: Path
    bits: int


def _bit(places: U64) -> NDArray[np.uint8]:
    return np.left_shift(np.uint8(1), (places & np.uint64(7)).astype(np.uint8))


@lru_cache(maxsize=2)
def opened(saved: Saved) -> Wanted:
    """Mapped into memory: the processes of a machine share it."""
    return Wanted(np.load(saved.values, mmap_mode="r"), np.load(saved.filter, mmap_mode="r"), saved.bits)


@lru_cache(maxsize=1)
def _splitter() -> Splitter:
    return Splitter(_words_of, sentences=True)


@dataclass(slots=True)
class _Texts:
    """In how many texts of a part each of some things occurs; texts are met in the order of their numbers."""

    things: list[I64] = field(default_factory=list)

    def meet(self, things: I64, texts: I64) -> None:
        """Thing `things[i]` occurs in text `texts[i]`."""
        if len(things):
            self.things.append(np.unique(things * _SHIFT + texts))

    def counts(self) -> tuple[I64, I64]:
        """(things that occur, in how many texts each does)."""
        if not self.things:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.unique(np.unique(np.concatenate(self.things)) // _SHIFT, return_counts=True)


def _met(view: View, wanted: Sequence[Wanted | Saved]) -> tuple[int, list[tuple[I64, I64]]]:
    """(texts of a part, for grams and sentences: which of those wanted occur, and in how many of the texts)."""
    gram_wanted, sentence_wanted = (opened(one) if isinstance(one, Saved) else one for one in wanted)
    split, gram_texts, sentence_texts = _splitter(), _Texts(), _Texts()
    ranks = view.ranks  # the pieces of one text follow each other
    numbers = np.cumsum(np.concatenate([[True], ranks[1:] != ranks[:-1]])) - 1
    begin = 0
    for _, batch in view.batches():
        words = split.words(batch.column("text"))
        number = numbers[begin : begin + len(batch)]
        for (hashes, texts), searched, found in (
            (grams(words, _GRAM), gram_wanted, gram_texts),
            (sentence_hashes(words)[:2], sentence_wanted, sentence_texts),
        ):
            places, which = searched.find(hashes)
            found.meet(which, number[texts[places]])
        begin += len(batch)
    return int(numbers[-1]) + 1, [gram_texts.counts(), sentence_texts.counts()]


def _words_of(chunk: str) -> Sequence[str]:
    """Words and signs; a hyphen is a sign where it stands alone."""
    return ["-"] if chunk == "-" else words_and_signs(chunk)
