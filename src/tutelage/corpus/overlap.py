"""How much of some documents stands in others: by 8-grams of words and signs, and by whole sentences.

Both sides are gone through once, whatever their size. What is met lies on disk as sorted runs (see `runs.py`) and is
counted a range of hashes at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.runs import U32, Place, Run, place_in, ranges, read_all
from tutelage.corpus.scripts import words_and_signs
from tutelage.corpus.shelf import Shelf, View
from tutelage.corpus.wanted import Filter, SavedFilter, opened_filter
from tutelage.corpus.words import I64, U64, Splitter, Words, grams, sentence_hashes

_GRAM = 8
# A gram or sentence that so many texts have (and so large a share of them) is a phrase of the kind, not a copy ...
_COMMON_TEXTS, _COMMON_SHARE = 5, 0.02
# ... unless little else is there.
_OWN_SHARE = 0.3
_IN_RUN = 1 << 20  # grams or sentences that are sorted at once
_KINDS = ("grams", "sentences")
Mapped = Callable[[Callable[[View], Any], Sequence[View]], Iterable[Any]]
"""Runs a function of each part, in order: in this process, or in several."""


def overlaps(
    documents: Shelf, others: Shelf, own: bool = False, mapped: Mapped = map, work: Path | None = None
) -> NDArray[np.float64]:
    """For each document the share of it that stands in other texts, 0 to 1.

    The larger of: share of its word 8-grams that occur there, share of its words in sentences that occur there whole.
    The pieces of one text count as one text. What at least five other texts, and 2 % of them, have in common is not
    counted, unless it is more than 70 % of the document. `own`: the documents are among the others; their own text
    does not count. Both are read once, by `mapped`, whose processes share the folder `work`; on disk are about 13 bytes
    for each word of the documents, and for each word of a part of the others that is met there.
    """
    with place_in(work, "overlap") as place:
        things = list(mapped(partial(_write_things, place=place), documents.views()))
        wanted = [[run for one in things for run in one[kind]] for kind in range(len(_KINDS))]
        filters = tuple(
            Filter.of((some for run in runs for some in run.hashes()), sum(map(len, runs))).saved(place(f"{kind}.npy"))
            for kind, runs in zip(_KINDS, wanted, strict=True)
        )
        met = list(mapped(partial(_write_met, place=place, filters=filters), others.views()))
        limit = max(_COMMON_TEXTS, math.ceil(_COMMON_SHARE * sum(texts for texts, _ in met)))
        shares = [
            _shares(runs, [run for _, one in met for run in one[kind]], documents.rows, own, limit)
            for kind, runs in enumerate(wanted)
        ]
    (grams_, common_grams), (sentences, common_sentences) = shares
    usual = np.maximum(common_grams, common_sentences) <= 1 - _OWN_SHARE
    return np.maximum(
        np.maximum(grams_ - np.where(usual, common_grams, 0), sentences - np.where(usual, common_sentences, 0)), 0.0
    )


def _things(words: Words) -> tuple[tuple[U64, I64, I64], tuple[U64, I64, I64]]:
    """The 8-grams of texts, and their sentences: of each its hash, its text, and what it weighs (a gram one, a sentence
    its words)."""
    values, owners = grams(words, _GRAM)
    return (values, owners, np.ones(len(values), np.int64)), sentence_hashes(words)


Runs = tuple[list[Run], list[Run]]
"""Of grams and of sentences."""


def _write_things(view: View, place: Place) -> Runs:
    """Runs of the grams and of the sentences of a part, with the row of the document of each and its weight."""
    kept = _Kept(place, f"of-{view.first}", _by_hash)
    split = _splitter()
    for rows, batch in view.batches():
        for kind, (values, texts, weights) in enumerate(_things(split.words(batch.column("text")))):
            kept.add(kind, values, rows[texts], weights)
        kept.write(_IN_RUN)
    return kept.all()


def _write_met(view: View, place: Place, filters: Sequence[SavedFilter]) -> tuple[int, Runs]:
    """(texts of a part, runs of its grams and of its sentences that pass the filters, with the number of texts that
    have them: each once in a run, and a text's all in one run)."""
    kept = _Kept(place, f"met-{view.first}", _in_texts)
    split, looked = _splitter(), [opened_filter(one) for one in filters]
    ranks = view.ranks  # the pieces of one text follow each other
    new = np.concatenate([[True], ranks[1:] != ranks[:-1]])
    numbers = np.cumsum(new) - 1
    begin = 0
    for _, batch in view.batches():
        if new[begin]:
            kept.write(_IN_RUN)
        number = numbers[begin : begin + len(batch)]
        for kind, (values, texts, _) in enumerate(_things(split.words(batch.column("text")))):
            at = looked[kind].passed(values)
            kept.add(kind, values[at], number[texts[at]])
        begin += len(batch)
    return int(numbers[-1]) + 1, kept.all()


class _Kept:
    """Grams and sentences of a part, with the numbers that belong to them, on their way into runs. `ordered` sorts
    them."""

    def __init__(self, place: Place, name: str, ordered: Callable[..., tuple[NDArray[Any], ...]]) -> None:
        self._place, self._name, self._ordered = place, name, ordered
        self._kept: tuple[list[Any], list[Any]] = ([], [])
        self._runs: Runs = ([], [])

    def add(self, kind: int, values: U64, *numbers: I64) -> None:
        if len(values):
            self._kept[kind].append((values, *(one.astype(np.uint32) for one in numbers)))

    def write(self, least: int) -> None:
        """As a run what there is of a kind, if it is at least so much."""
        for kind, kept in enumerate(self._kept):
            if kept and sum(len(one[0]) for one in kept) >= least:
                whole = [np.concatenate(column) for column in zip(*kept, strict=True)]
                kept.clear()
                path = self._place(f"{self._name}-{kind}-{len(self._runs[kind])}")
                self._runs[kind].append(Run.write(path, *self._ordered(*whole)))

    def all(self) -> Runs:
        self.write(1)
        return self._runs


def _by_hash(values: U64, *numbers: U32) -> tuple[NDArray[Any], ...]:
    order = np.argsort(values)
    return values[order], *(one[order] for one in numbers)


def _in_texts(values: U64, texts: U32) -> tuple[U64, I64]:
    """(different values, ascending, in how many texts each is); the texts are in the order of their numbers."""
    order = np.argsort(values, kind="stable")
    values, texts = values[order], texts[order]
    new = np.ones(len(values), bool)
    new[1:] = values[1:] != values[:-1]
    first = new.copy()  # of a value in a text
    first[1:] |= texts[1:] != texts[:-1]
    begins = np.flatnonzero(new)
    return values[begins], np.add.reduceat(first.astype(np.int64), begins) if len(begins) else np.zeros(0, np.int64)


def _shares(things: Sequence[Run], met: Sequence[Run], rows: I64, own: bool, limit: int) -> NDArray[np.float64]:
    """[2, documents]: share of each document that other texts have, and that at least `limit` of them have."""
    held, total = np.zeros((2, len(rows))), np.zeros(len(rows))
    for low, high in ranges([*things, *met]):
        values, (owners, weights) = read_all(things, low, high, 2)
        if not len(values):
            continue
        found = _counts_of(values, *read_all(met, low, high, 1)) - own
        documents = np.searchsorted(rows, owners)
        total += np.bincount(documents, weights, len(rows))
        for share, seen in zip(held, (found > 0, found >= limit), strict=True):
            share += np.bincount(documents[seen], weights[seen], len(rows))
    return held / np.maximum(total, 1)


def _counts_of(values: U64, others: U64, columns: Sequence[U32]) -> I64:
    """For each value the sum of the counts that it has among the others."""
    order = np.argsort(others)
    ordered, before = others[order], np.concatenate([[0], np.cumsum(columns[0][order], dtype=np.int64)])
    return before[np.searchsorted(ordered, values, side="right")] - before[np.searchsorted(ordered, values)]


@lru_cache(maxsize=1)
def _splitter() -> Splitter:
    return Splitter(_words_of, sentences=True)


def _words_of(chunk: str) -> Sequence[str]:
    """Words and signs; a hyphen is a sign where it stands alone."""
    return ["-"] if chunk == "-" else words_and_signs(chunk)
