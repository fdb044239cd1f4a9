"""Paragraphs or lines that stand in several places of a corpus: all but the first go, if that is asked for."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal
from uuid import uuid4

import numpy as np

from tutelage.corpus.card import Step, Tally, make_step, shorten
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.document import Document
from tutelage.corpus.runs import save_array
from tutelage.corpus.scripts import count_text_words
from tutelage.corpus.shelf import Shelf, View
from tutelage.corpus.words import I64, U64, hash_text
from tutelage.corpus.workshop import Workshop

Pieces = Literal["paragraphs", "lines"]
_BREAK = {"paragraphs": "\n\n", "lines": "\n"}
_SHORTEST = 20  # characters; shorter ones ("Yes.") are common without being copies


def without_duplicate_pieces(documents: Shelf, config: CorpusConfig, steps: list[Step], shop: Workshop) -> Shelf:
    """Of paragraphs (or lines) that are the same but for white space the first one stays, in the order of reading."""
    assert config.duplicate_pieces != "keep"
    pieces: Pieces = config.duplicate_pieces
    found = list(shop.each(partial(_keys, pieces=pieces), documents.views()))
    keys = np.concatenate([np.zeros(0, np.uint64), *(one for one, _ in found)])
    rows = np.concatenate([np.zeros(0, np.int64), *(one for _, one in found)])
    values, first, counts = np.unique(keys, return_index=True, return_counts=True)
    copied = counts > 1
    place = shop.folder / f"pieces-{uuid4().hex}.npy"  # a name of its own: workers remember what they have opened
    save_array(place, np.stack([values[copied].view(np.int64), rows[first[copied]]]))
    kept, tally = shop.rewritten(documents, pieces, _WithoutCopies(place, pieces, config.min_words))
    what = f"Of {pieces} (of {_SHORTEST} characters and more) that are the same but for white space one stays."
    step = make_step(f"duplicate {pieces}", what, documents, kept, tally)
    if tally.pieces:
        step.pieces = tally.plain_pieces({"copied": f"{pieces} that stand in an earlier place"})
    steps.append(step)
    return kept


def _keys(view: View, pieces: Pieces) -> tuple[U64, I64]:
    """(hash, row) of each piece of a part, in order."""
    keys, rows = array("Q"), array("q")
    for at, batch in view.batches():
        for row, text in zip(at.tolist(), batch.column("text").to_pylist(), strict=True):
            found = [key for _, key in _cut(text, pieces) if key]
            keys.extend(found)
            rows.extend([row] * len(found))
    return np.array(keys, np.uint64), np.array(rows, np.int64)


def _cut(text: str, pieces: Pieces) -> Iterator[tuple[str, int]]:
    """(piece, its hash or 0 where it is too short to count)."""
    for piece in text.split(_BREAK[pieces]):
        plain = " ".join(piece.split())
        yield piece, hash_text(plain) if len(plain) >= _SHORTEST else 0


@dataclass(frozen=True, slots=True)
class _WithoutCopies:
    """`place`: a file with the sorted hashes of pieces that occur more than once and the row that each is first in."""

    place: Path
    pieces: Pieces
    min_words: int

    def __call__(self, document: Document, row: int, tally: Tally) -> Document | None:
        copied, first = _copied(self.place)
        cut = list(_cut(document.text, self.pieces))
        keys = np.array([key for _, key in cut], np.uint64)
        at = np.minimum(np.searchsorted(copied, keys), len(copied) - 1)
        known = copied[at] == keys if len(copied) else np.zeros(len(keys), bool)
        if not known.any():
            return document
        kept, met = [], set()
        for (piece, key), is_copied, place in zip(cut, known.tolist(), at.tolist(), strict=True):
            if is_copied and (first[place] != row or key in met):
                tally.piece("copied", 1, len(piece.encode("utf-8")), shorten(piece, 200), document.id)
            else:
                kept.append(piece)
            met.add(key)
        text = _BREAK[self.pieces].join(kept).strip("\n")
        if count_text_words(text) < self.min_words:
            tally.remove(document, f"only duplicate {self.pieces}")
            return None
        return document.with_text(text) if len(kept) < len(cut) else document


@lru_cache(maxsize=1)
def _copied(place: Path) -> tuple[U64, I64]:
    table = np.load(place, mmap_mode="r")
    return table[0].view(np.uint64), table[1]
