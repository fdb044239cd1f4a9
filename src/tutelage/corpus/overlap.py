"""How much of some documents stands in others: by 8-grams of words and signs, and by whole sentences.

Both sides are gone through once, whatever their size. What is met lies on disk as sorted runs (see `runs.py`) and is
counted a range of hashes at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.runs import Run, ranges, read_all
from tutelage.corpus.scripts import words_and_signs
from tutelage.corpus.shelf import Shelf, View
from tutelage.corpus.wanted import Filter, SavedFilter, opened_filter
from tutelage.corpus.words import I64, U64, Splitter, Words, grams, sentence_hashes

_GRAM = 8
# A gram or sentence that so many texts have (and so large a share of them) is a phrase of the kind, not a copy ...
_COMMON_TEXTS, _COMMON_SHARE = 5, 0.02
# ... unless little else is there.
_OWN_SHARE = 0.3
_IN_RUN = 1 << 21  # grams or sentences of documents that are sorted at once
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
    with _place(work) as place:
        things = list(mapped(partial(_write_things, place=place), documents.views()))
        wanted = [[run for one in things for run in one[kind]] for kind in range(len(_KINDS))]
        filters = tuple(
            Filter.of((some for run in runs for some in run.hashes()), sum(map(len, runs))).saved(place(f"{kind}.npy"))
            for kind, runs in zip(_KINDS, wanted, strict=True)
        )
        met = list(mapped(partial(_write_met, place=place, filters=filters), others.views()))
        limit = max(_COMMON_TEXTS, math.ceil(_COMMON_SHARE * sum(texts for texts, _ in met)))
        shares = [
            _shares(runs, [one[kind] for _, one in met], documents.rows, own, limit) for kind, runs in enumerate(wanted)
        ]
    (grams_, common_grams), (sentences, common_sentences) = shares
    usual = np.maximum(common_grams, common_sentences) <= 1 - _OWN_SHARE
    return np.maximum(
        np.maximum(grams_ - np.where(usual, common_grams, 0), sentences - np.where(usual, common_sentences, 0)), 0.0
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Names files in a folder, with a beginning of their own: workers remember what they have opened."""

    folder: Path
    own: str

    def __call__(self, name: str) -> Path:
        return self.folder / f"overlap-{self.own}-{name}"


@contextmanager
def _place(work: Path | None) -> Iterator[_Place]:
    """A place for files, which are gone afterwards."""
    if work is None:
        with TemporaryDirectory() as folder:
            yield _Place(Path(folder), "")
        return
    place = _Place(work, uuid4().hex)
    try:
        yield place
    finally:
        for path in work.glob(place("*").name):
            path.unlink()


def _things(words: Words) -> tuple[tuple[U64, I64, I64], tuple[U64, I64, I64]]:
    """The 8-grams of texts, and their sentences: of each its hash, its text, and what it weighs (a gram one, a sentence
    its words)."""
    values, owners = grams(words, _GRAM)
    return (values, owners, np.ones(len(values), np.int64)), sentence_hashes(words)


def _write_things(view: View, place: _Place) -> tuple[list[Run], list[Run]]:
    """Runs of the grams and of the sentences of a part, with the row of the document of each and its weight."""
    written: tuple[list[Run], list[Run]] = ([], [])
    kept: tuple[list[Any], list[Any]] = ([], [])

    def write(kind: int) -> None:
        values, rows, weights = (np.concatenate(columns) for columns in zip(*kept[kind], strict=True))
        order = np.argsort(values)
        path = place(f"{_KINDS[kind]}-{view.first}-{len(written[kind])}")
        written[kind].append(Run.write(path, values[order], rows[order], weights[order]))
        kept[kind].clear()

    split = _splitter()
    for rows, batch in view.batches():
        for kind, (values, texts, weights) in enumerate(_things(split.words(batch.column("text")))):
            kept[kind].append((values, rows[texts], weights))
            if sum(len(one) for one, _, _ in kept[kind]) >= _IN_RUN:
                write(kind)
    for kind in range(len(_KINDS)):
        if kept[kind]:
            write(kind)
    return written


def _write_met(view: View, place: _Place, filters: Sequence[SavedFilter]) -> tuple[int, tuple[Run, ...]]:
    """(texts of a part, runs of its grams and of its sentences that pass the filters, each once, with the number of the
    texts that have it)."""
    split, looked = _splitter(), [opened_filter(one) for one in filters]
    found: list[list[tuple[U64, I64]]] = [[(np.zeros(0, np.uint64), np.zeros(0, np.int64))] for _ in _KINDS]
    ranks = view.ranks  # the pieces of one text follow each other
    numbers = np.cumsum(np.concatenate([[True], ranks[1:] != ranks[:-1]])) - 1
    begin = 0
    for _, batch in view.batches():
        number = numbers[begin : begin + len(batch)]
        for (values, texts, _), searched, kept in zip(
            _things(split.words(batch.column("text"))), looked, found, strict=True
        ):
            at = searched.passed(values)
            kept.append((values[at], number[texts[at]]))
        begin += len(batch)
    runs = []
    for kind, kept in zip(_KINDS, found, strict=True):
        values, counts = _in_texts(*(np.concatenate(columns) for columns in zip(*kept, strict=True)))
        runs.append(Run.write(place(f"met-{kind}-{view.first}"), values, counts))
    return int(numbers[-1]) + 1, tuple(runs)


def _in_texts(values: U64, texts: I64) -> tuple[U64, I64]:
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


def _counts_of(values: U64, others: U64, columns: Sequence[NDArray[np.uint32]]) -> I64:
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
