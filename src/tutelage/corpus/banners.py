"""Paragraphs that many documents share (banners, footers, licences): all copies but the first go."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tutelage.corpus.card import Tally, shorten
from tutelage.corpus.document import Document
from tutelage.corpus.overlap import Mapped
from tutelage.corpus.runs import U32, Place, Run, place_in, ranges, read_all
from tutelage.corpus.scripts import count_text_words
from tutelage.corpus.shelf import Shelf, View
from tutelage.corpus.words import U64, hash_text

_SHORTEST_BANNER = 40  # characters; shorter paragraphs ("Yes.") are common without being banners
_FEWEST, _SHARE = 5, 0.02  # documents that share a paragraph, at least, and as a share of all


@dataclass(frozen=True, slots=True)
class Banners:
    """Paragraphs that many texts share, by the hash of their words: the row of the first document that has each."""

    first: dict[int, int]
    min_words: int

    def __call__(self, document: Document, row: int, tally: Tally) -> Document | None:
        """The document without its banners, which stay in the first document that has them; None where fewer than
        `min_words` are left."""
        kept = []
        met = set()
        for paragraph in document.text.split("\n\n"):
            text = _plain(paragraph)
            key = hash_text(text) if len(text) >= _SHORTEST_BANNER else 0
            if key not in self.first or (self.first[key] == row and key not in met):
                met.add(key)
                kept.append(paragraph)
            else:
                tally.piece("shared", 1, len(paragraph.encode("utf-8")), shorten(text, 200), document.id)
        text = "\n\n".join(kept).strip("\n")
        if count_text_words(text) < self.min_words:
            tally.remove(document, "only shared paragraphs")
            return None
        return document.with_text(text) if len(text) != len(document.text) else document


def find_banners(documents: Shelf, mapped: Mapped = map, min_words: int = 1, work: Path | None = None) -> Banners:
    """Paragraphs that at least five texts, and 2 % of them, have in common.

    The pieces of one text count once. Paragraphs of fewer than 40 characters are left alone. On disk, in the folder
    `work`, are 12 bytes for each different paragraph of a part.
    """
    limit = max(_FEWEST, math.ceil(_SHARE * len(np.unique(documents.facts.ranks[documents.rows]))))
    with place_in(work, "banners") as place:
        runs = list(mapped(partial(_keys, place=place), documents.views()))
        often = [_often(*read_all(runs, low, high, 1), limit) for low, high in ranges(runs)]
    common = np.concatenate(often)  # pieces of one text may be among them
    if not len(common):
        return Banners({}, min_words)
    texts: Counter[int] = Counter()
    first: dict[int, int] = {}
    for met in mapped(partial(_holders, common=frozenset(common.tolist())), documents.views()):
        for key, (times, row) in met.items():
            texts[key] += times
            first.setdefault(key, row)
    return Banners({key: row for key, row in first.items() if texts[key] >= limit}, min_words)


def _often(values: U64, columns: Sequence[U32], limit: int) -> U64:
    """Values, each once, whose counts add up to the limit."""
    different, at = np.unique(values, return_inverse=True)
    return different[np.bincount(at, columns[0], len(different)) >= limit]


def _keys(view: View, place: Place) -> Run:
    """Hashes of the different paragraphs of a part, and how many documents have each."""
    found = array("Q")
    for _, batch in view.batches():
        for text in batch.column("text").to_pylist():
            found.extend({hash_text(one) for one in _paragraphs(text)})
    return Run.write(place(str(view.first)), *np.unique(np.frombuffer(found, np.uint64), return_counts=True))


def _holders(view: View, common: frozenset[int]) -> dict[int, tuple[int, int]]:
    """For each common paragraph of a part: (how many texts have it, the first row that has it)."""
    held: dict[int, tuple[int, int]] = {}
    last: dict[int, int] = {}
    ranks = iter(view.ranks.tolist())
    for rows, batch in view.batches():
        for row, text in zip(rows.tolist(), batch.column("text").to_pylist(), strict=True):
            group = next(ranks)  # the pieces of one text follow each other
            for key in {hash_text(one) for one in _paragraphs(text)} & common:
                times, first = held.get(key, (0, row))
                held[key] = times + (last.get(key) != group), first
                last[key] = group
    return held


def _paragraphs(text: str) -> Iterator[str]:
    paragraphs = (_plain(paragraph) for paragraph in text.split("\n\n"))
    return (one for one in paragraphs if len(one) >= _SHORTEST_BANNER)


def _plain(paragraph: str) -> str:
    return " ".join(paragraph.split())
