"""Near duplicates of a corpus on disk: band keys and gram sets lie in files, in memory is a band at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.dedup import PASSES, NearDuplicates, Pass, greedy, keys_of, sets_of, signs_key, splitter
from tutelage.corpus.minhash import Banding, shared_bands
from tutelage.corpus.runs import write_arrays
from tutelage.corpus.shelf import LABELLED, SIGNED, Facts, Shelf, View
from tutelage.corpus.words import I64, U64, Splitter
from tutelage.corpus.workshop import Workshop

_HEAD = 2  # words and signs, before the grams of a set


def preferred(facts: Facts) -> I64:
    """Documents in the order in which one of a cluster is kept: what knows most about itself, then the longest, then
    by id."""
    unsigned, unlabelled = (facts.flags & SIGNED) == 0, (facts.flags & LABELLED) == 0
    return np.lexsort((facts.ids, -facts.chars.astype(np.int64), unlabelled, unsigned))


def near_duplicates_of(documents: Shelf, threshold: float, by: Banding, shop: Workshop) -> NearDuplicates:
    """As `greedy`, of documents in the order given by `preferred`; indices are places in that order."""
    order = preferred(documents.kept)
    of_row = np.full(len(documents.facts), -1)  # the place of each document in that order
    of_row[documents.rows[order]] = np.arange(len(order))
    files = list(shop.each(partial(_write_keys, folder=shop.folder, by=by), documents.views()))
    passes = []
    for which in range(len(PASSES)):
        mine = [one[which] for one in files]
        texts = of_row[np.concatenate([np.zeros(0, np.int64), *(one.rows for one in mine)])]
        groups = shared_bands((_band(mine, band) for band in range(by.bands)), texts)
        write = partial(_write_sets, folder=shop.folder, which=which)
        candidates = documents.only(documents.rows[order[groups.members]])
        sets = list(shop.each(write, candidates.views()))
        passes.append(Pass(groups, _SetsOnDisk.of(sets, of_row)))
    found = greedy(len(order), passes, threshold)
    for path in shop.folder.glob("near-*"):
        path.unlink()
    return found


@dataclass(frozen=True, slots=True)
class _Keys:
    """Band keys of a part, [bands, documents] in a file, and the rows of those documents."""

    path: Path
    rows: I64


def _write_keys(view: View, folder: Path, by: Banding) -> list[_Keys]:
    """For each pass the keys of the documents that it compares."""
    found: list[list[tuple[I64, U64]]] = [[] for _ in PASSES]
    split = _splitter()
    for rows, batch in view.batches():
        words = split.words(batch.column("text"))
        for which in range(len(PASSES)):
            chosen, keys = keys_of(words, which, by)
            found[which].append((rows[chosen], keys))
    files = []
    for which, one in enumerate(found):
        path = folder / f"near-keys-{which}-{view.first}"
        with path.open("wb") as file:
            write_arrays(file, np.concatenate([keys for _, keys in one], axis=1))
        files.append(_Keys(path, np.concatenate([rows for rows, _ in one])))
    return files


def _band(files: Sequence[_Keys], band: int) -> U64:
    """The keys of one band of all documents."""
    parts = [
        np.fromfile(one.path, np.uint64, len(one.rows), offset=8 * band * len(one.rows))
        for one in files
        if len(one.rows)
    ]
    return np.concatenate([np.zeros(0, np.uint64), *parts])


@dataclass(frozen=True, slots=True)
class _Sets:
    """Gram sets of some documents of a part, one behind the other in a file: each begins at `starts` and is headed by
    the number of its words and a hash of its signs."""

    path: Path
    rows: I64
    starts: I64


def _write_sets(view: View, folder: Path, which: int) -> _Sets:
    split, path, sizes = _splitter(), folder / f"near-sets-{which}-{view.first}", []
    with path.open("wb") as file:
        for rows, batch in view.batches():
            words = split.words(batch.column("text"))
            sets = sets_of(words, which, np.arange(len(rows)))
            texts = batch.column("text").to_pylist()
            for text, length, grams in zip(texts, words.lengths.tolist(), sets, strict=True):
                write_arrays(file, np.array([length, signs_key(text)], np.uint64), grams)
                sizes.append(len(grams) + _HEAD)
    return _Sets(path, view.rows + view.first, np.cumsum([0, *sizes]))


@dataclass(frozen=True, slots=True)
class _SetsOnDisk:
    """The gram sets of all parts by the place of a document."""

    files: Sequence[_Sets]
    texts: I64  # ascending
    file: NDArray[np.int32]
    start: I64
    size: I64

    @classmethod
    def of(cls, files: Sequence[_Sets], of_row: I64) -> _SetsOnDisk:
        texts = of_row[np.concatenate([np.zeros(0, np.int64), *(one.rows for one in files)])]
        number = np.repeat(np.arange(len(files), dtype=np.int32), [len(one.rows) for one in files])
        start = np.concatenate([np.zeros(0, np.int64), *(one.starts[:-1] for one in files)])
        size = np.concatenate([np.zeros(0, np.int64), *(np.diff(one.starts) for one in files)])
        order = np.argsort(texts)
        return cls(files, texts[order], number[order], start[order], size[order])

    def _read(self, text: int, most: int | None = None) -> U64:
        at = int(np.searchsorted(self.texts, text))
        count = int(self.size[at]) if most is None else most
        return np.fromfile(self.files[self.file[at]].path, np.uint64, count, offset=8 * int(self.start[at]))

    def length(self, text: int) -> int:
        return int(self._read(text, 1)[0])

    def signs(self, text: int) -> int:
        return int(self._read(text, 2)[1])

    def grams(self, text: int) -> U64:
        return self._read(text)[_HEAD:]


@lru_cache(maxsize=1)
def _splitter() -> Splitter:
    return splitter()
