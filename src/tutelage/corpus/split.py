"""The split into train and held-out: by text, never with an empty side, and without what stands on both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.document import Document
from tutelage.corpus.overlap import Mapped, overlaps
from tutelage.corpus.shelf import I64, Bool, Shelf
from tutelage.store.errors import InputError

_MOST_GIVEN = 0.2  # of a corpus, that one text may take to the held-out side; a longer one is torn instead
_TRIED = 64  # texts, at least, that are looked at when a side has to be drawn again
_TRIED_SHARES = 6  # ... or so many times the text that is wanted
_HOPELESS = 0.9  # of the best document that stands in others: then nothing is worth being held out


@dataclass(slots=True)
class Sides:
    """Both sides of a corpus. `torn`: the rank (see `Facts.ranks`) of the text that lies on both, as it is too long."""

    train: Shelf
    heldout: Shelf
    torn: int | None = None


@dataclass(slots=True)
class CleanSides:
    """Both sides without leaks: `gone` are held-out documents that stood in training text; `said` what a user must
    know of how the sides came about."""

    train: Shelf
    heldout: Shelf
    gone: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    said: list[str] = field(default_factory=list)


def split(documents: Shelf, share: float) -> Sides:
    """(train, held-out) in the order given; the pieces of one text lie on one side.

    Each text goes by its rank alone, so that adding texts moves none. Where that gives less than half or more than
    twice the share (few texts, or long ones), texts are taken in the order of their rank as far as they fit; where
    none fits, the first that is not more than a fifth of the corpus; where there is no such text, the end of the
    longest. At least one document is held out where there are two or more, and at least one is trained on.
    """
    facts = documents.kept
    ranks, group, sizes, pieces = _texts(facts.ranks, facts.chars)
    total, target = int(sizes.sum()), share * int(sizes.sum())
    chosen = ranks / 2.0**64 < share
    if not 0.5 * target <= sizes[chosen].sum() <= 2 * target:
        chosen = _fitting(sizes, target, total)
        longest = int(np.lexsort((sizes, pieces > 1))[-1]) if len(sizes) else -1
        if not chosen.any() and len(sizes) and pieces[longest] > 1:
            held = _end_of(np.flatnonzero(group == longest), facts.chars, target)
            return _sides(documents, held, int(ranks[longest]))
        if not chosen.any() and len(documents) > 1:
            chosen[0] = True
    if len(chosen) and chosen.all():
        chosen[-1] = False
    return _sides(documents, np.flatnonzero(chosen[group]))


def _sides(documents: Shelf, held: I64, torn: int | None = None) -> Sides:
    """`held`: places among the documents."""
    out = np.zeros(len(documents), bool)
    out[held] = True
    return Sides(documents.only(documents.rows[~out]), documents.only(documents.rows[out]), torn)


def _texts(ranks: NDArray[np.uint64], sizes: NDArray[np.int32]) -> tuple[NDArray[np.uint64], I64, I64, I64]:
    """(different texts by rank, text of each document, characters of each text, pieces of each text)."""
    texts, group = np.unique(ranks, return_inverse=True)
    size = np.bincount(group, sizes, len(texts)).astype(np.int64)
    return texts, group, size, np.bincount(group, minlength=len(texts))


def _fitting(sizes: I64, target: float, total: int) -> Bool:
    """Texts in order, as many as fit into one and a half times the target; else the first that is short enough."""
    chosen = np.zeros(len(sizes), bool)
    held = 0
    for text, size in enumerate(sizes.tolist()):
        if held >= target:
            break
        if held + size <= 1.5 * target:
            chosen[text] = True
            held += size
    if not chosen.any():
        chosen[np.flatnonzero(sizes <= _MOST_GIVEN * total)[:1]] = True
    return chosen


def _end_of(places: I64, sizes: NDArray[np.int32], target: float) -> I64:
    """The last pieces of one text, as many as make the target, at least one and not all."""
    chosen: list[int] = []
    held = 0
    for place in reversed(places[1:].tolist()):
        if chosen and held + int(sizes[place]) > 1.5 * target:
            break
        chosen.append(place)
        held += int(sizes[place])
        if held >= target:
            break
    return np.array(chosen, np.int64)


def leaked(train: Sequence[Document], heldout: Sequence[Document]) -> list[float]:
    """For each held-out document the share of it that stands in training documents, 0 to 1; see `overlaps`."""
    found: list[float] = overlaps(Shelf.of(heldout), Shelf.of(train)).tolist()
    return found


def clean_split(
    documents: Shelf, share: float, max_overlap: float, mapped: Mapped = map, work: Path | None = None
) -> CleanSides:
    """Both sides, neither empty, and no held-out document of which more than `max_overlap` stands in training text.

    Where leaks take more than half of the held-out side, another is drawn: in the order of their rank, texts that share
    little with all others. Raises InputError where the documents are too few, or share too much for any of them to
    be held out.
    """
    sides = split(documents, share)
    clean = overlaps(sides.heldout, sides.train, mapped=mapped, work=work) <= max_overlap
    kept, gone = sides.heldout.only(sides.heldout.rows[clean]), sides.heldout.rows[~clean]
    said = []
    if sides.torn is not None:
        (first,) = documents.fetch(sides.heldout.rows[:1])
        name = (first.name or first.source).rsplit(" (", 1)[0]
        said.append(
            f"the held-out text is the end of {name!r}, which is also trained on: the source has no text that is short "
            "enough to be held out whole. Figures on it tell less than those on another text would"
        )
    if len(kept) and 2 * _characters(kept) >= _characters(sides.heldout):
        return CleanSides(sides.train, kept, gone, said)
    drawn, best = _drawn_again(documents, share, max_overlap, mapped, work)
    if best > max_overlap and len(kept):  # what is left of the first draw is little, but clean
        return CleanSides(sides.train, kept, gone, said)
    if best > max(_HOPELESS, max_overlap):
        raise InputError(
            f"no document can be held out: at least {best:.0%} of each of those tried stands in others too",
            hint="lower corpus.near_duplicate_threshold to take out such copies, raise corpus.max_overlap to accept "
            "them, or give more text",
        )
    found = _sides(documents, drawn)
    first_draw = f"{len(gone):,} of the {len(sides.heldout):,} held-out documents chosen first stand in training text"
    if best > max_overlap:
        said = [
            f"{first_draw}; one other text is held out, of which {best:.0%} stands in training text too: the corpus "
            "repeats itself everywhere. Figures on held-out text will measure memory"
        ]
    else:
        said = [f"{first_draw}; {len(found.heldout):,} others are held out"]
    return CleanSides(found.train, found.heldout, said=said)


def _drawn_again(
    documents: Shelf, share: float, max_overlap: float, mapped: Mapped, work: Path | None
) -> tuple[I64, float]:
    """(places of the documents to hold out, overlap of the worst text of them): texts that share little with all
    others, up to the share; or the one that shares least, with more than `max_overlap`. Of a single text pieces are
    drawn, which then count as texts of their own."""
    facts = documents.kept
    ranks = facts.ranks
    if len(np.unique(ranks)) == 1:
        documents = documents.apart()
        ranks = documents.kept.ranks
    _, group, sizes, _ = _texts(ranks, facts.chars)
    total = int(sizes.sum())
    short = np.flatnonzero(sizes <= _MOST_GIVEN * total)
    tried: list[int] = []
    size = 0
    for text in short.tolist() or range(len(sizes)):
        if len(tried) >= _TRIED and size > _TRIED_SHARES * share * total:
            break
        tried.append(text)
        size += int(sizes[text])
    candidates = np.flatnonzero(np.isin(group, tried))
    found = overlaps(documents.only(documents.rows[candidates]), documents, own=True, mapped=mapped, work=work)
    copied = np.bincount(group[candidates], found * facts.chars[candidates], len(sizes)) / np.maximum(sizes, 1)
    clean = [text for text in tried if copied[text] <= max_overlap]
    if not clean:
        least = min(tried, key=lambda text: (copied[text], text))
        return np.flatnonzero(group == least), float(copied[least])
    chosen: list[int] = []
    held = 0
    for text in clean:
        if chosen and held + sizes[text] > 1.5 * share * total:
            continue
        chosen.append(text)
        held += int(sizes[text])
        if held >= share * total or len(chosen) == len(sizes) - 1:
            break
    return np.flatnonzero(np.isin(group, chosen)), float(copied[chosen].max())


def _characters(documents: Shelf) -> int:
    return int(documents.facts.chars[documents.rows].sum(dtype=np.int64))
