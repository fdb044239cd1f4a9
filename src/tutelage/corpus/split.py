"""The split into train and held-out: by text, never with an empty side, and without what stands on both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tutelage.corpus.document import Document
from tutelage.corpus.overlap import overlaps
from tutelage.store.errors import InputError
from tutelage.store.hashing import sha256_text

_MOST_GIVEN = 0.2  # of a corpus, that one text may take to the held-out side; a longer one is torn instead
_TRIED = 64  # texts, at least, that are looked at when a side has to be drawn again
_TRIED_SHARES = 6  # ... or so many times the text that is wanted
_HOPELESS = 0.9  # of the best document that stands in others: then nothing is worth being held out


@dataclass(slots=True)
class Sides:
    """Both sides of a corpus. `torn`: the group (see `Document.group`) that lies on both, because it is too long."""

    train: list[Document]
    heldout: list[Document]
    torn: str | None = None


@dataclass(slots=True)
class CleanSides:
    """Both sides without leaks: `gone` are held-out documents that stood in training text; `said` what a user must
    know of how the sides came about."""

    train: list[Document]
    heldout: list[Document]
    gone: list[Document] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def rank(group: str, seed: int) -> float:
    """Place of a text in the split, 0 to 1: a hash of the data seed and its id, whatever the others are."""
    return int(sha256_text(f"{seed}:{group}")[:16], 16) / 2**64


def split(documents: Sequence[Document], share: float, seed: int) -> Sides:
    """(train, held-out) in the order given; the pieces of one text lie on one side.

    Each text goes by its rank alone, so that adding texts moves none. Where that gives less than half or more than
    twice the share (few texts, or long ones), texts are taken in the order of their rank as far as they fit; where
    none fits, the first that is not more than a fifth of the corpus; where there is no such text, the end of the
    longest. At least one document is held out where there are two or more, and at least one is trained on.
    """
    sizes: dict[str, int] = defaultdict(int)
    pieces: dict[str, int] = defaultdict(int)
    for document in documents:
        sizes[document.group] += len(document.text)
        pieces[document.group] += 1
    ranks = {group: rank(group, seed) for group in sizes}
    total, target = sum(sizes.values()), share * sum(sizes.values())
    chosen = {group for group in sizes if ranks[group] < share}
    if not 0.5 * target <= sum(sizes[group] for group in chosen) <= 2 * target:
        chosen = _fitting(sorted(sizes, key=ranks.__getitem__), sizes, target, total)
        longest = max(sizes, key=lambda group: (pieces[group] > 1, sizes[group]), default="")
        if not chosen and pieces[longest] > 1:
            return _torn(documents, longest, target)
        if not chosen and len(documents) > 1:
            chosen = {min(sizes, key=ranks.__getitem__)}
    if len(chosen) == len(sizes):
        chosen -= {max(sizes, key=ranks.__getitem__)} if len(sizes) > 1 else chosen
    return Sides(
        [document for document in documents if document.group not in chosen],
        [document for document in documents if document.group in chosen],
    )


def _fitting(order: list[str], sizes: dict[str, int], target: float, total: int) -> set[str]:
    """Texts in order, as many as fit into one and a half times the target; else the first that is short enough."""
    chosen: set[str] = set()
    held = 0
    for group in order:
        if held >= target:
            break
        if held + sizes[group] <= 1.5 * target:
            chosen.add(group)
            held += sizes[group]
    short = [group for group in order if sizes[group] <= _MOST_GIVEN * total]
    return chosen or set(short[:1])


def _torn(documents: Sequence[Document], group: str, target: float) -> Sides:
    """The last pieces of one text are held out, as many as make the target, at least one and not all."""
    places = [index for index, document in enumerate(documents) if document.group == group]
    chosen: set[int] = set()
    size = 0
    for index in reversed(places[1:]):
        if chosen and size + len(documents[index].text) > 1.5 * target:
            break
        chosen.add(index)
        size += len(documents[index].text)
        if size >= target:
            break
    return Sides(
        [document for index, document in enumerate(documents) if index not in chosen],
        [documents[index] for index in sorted(chosen)],
        torn=group,
    )


def leaked(train: Sequence[Document], heldout: Sequence[Document]) -> list[float]:
    """For each held-out document the share of it that stands in training documents, 0 to 1; see `overlaps`."""
    return overlaps(heldout, train)


def clean_split(documents: Sequence[Document], share: float, seed: int, max_overlap: float) -> CleanSides:
    """Both sides, neither empty, and no held-out document of which more than `max_overlap` stands in training text.

    Where leaks take more than half of the held-out side, another is drawn: in the order of their rank, texts that share
    little with all others. Raises InputError where the documents are too few, or share too much for any of them to
    be held out.
    """
    sides = split(documents, share, seed)
    shares = leaked(sides.train, sides.heldout)
    kept = [document for document, found in zip(sides.heldout, shares, strict=True) if found <= max_overlap]
    gone = [document for document, found in zip(sides.heldout, shares, strict=True) if found > max_overlap]
    said = []
    if sides.torn:
        name = (sides.heldout[0].name or sides.heldout[0].source).rsplit(" (", 1)[0]
        said.append(
            f"the held-out text is the end of {name!r}, which is also trained on: the source has no text that is short "
            "enough to be held out whole. Figures on it tell less than those on another text would"
        )
    if kept and 2 * _size(kept) >= _size(sides.heldout):
        return CleanSides(sides.train, kept, gone, said)
    # Of a single text pieces are drawn, which then count as texts of their own.
    apart = documents if len({one.group for one in documents}) > 1 else [replace(one, whole=None) for one in documents]
    drawn, best = _drawn_again(apart, share, seed, max_overlap)
    if best > max_overlap and kept:  # what is left of the first draw is little, but clean
        return CleanSides(sides.train, kept, gone, said)
    if best > max(_HOPELESS, max_overlap):
        raise InputError(
            f"no document can be held out: at least {best:.0%} of each of those tried stands in others too",
            hint="lower corpus.near_duplicate_threshold to take out such copies, raise corpus.max_overlap to accept "
            "them, or give more text",
        )
    held = [document for document, one in zip(documents, apart, strict=True) if one.group in drawn]
    train = [document for document, one in zip(documents, apart, strict=True) if one.group not in drawn]
    first = f"{len(gone):,} of the {len(sides.heldout):,} held-out documents chosen first stand in training text"
    if best > max_overlap:
        said = [
            f"{first}; one other text is held out, of which {best:.0%} stands in training text too: the corpus repeats "
            "itself everywhere. Figures on held-out text will measure memory"
        ]
    else:
        said = [f"{first}; {len(held):,} others are held out"]
    return CleanSides(train, held, [], said)


def _drawn_again(documents: Sequence[Document], share: float, seed: int, max_overlap: float) -> tuple[set[str], float]:
    """(texts to hold out, overlap of the worst of them): those that share little with all others, up to the share; or
    the one that shares least, with more than `max_overlap`."""
    sizes: dict[str, int] = defaultdict(int)
    for document in documents:
        sizes[document.group] += len(document.text)
    total = sum(sizes.values())
    order = sorted(sizes, key=lambda group: rank(group, seed))
    short = [group for group in order if sizes[group] <= _MOST_GIVEN * total] or order
    tried: list[str] = []
    size = 0
    for group in short:
        if len(tried) >= _TRIED and size > _TRIED_SHARES * share * total:
            break
        tried.append(group)
        size += sizes[group]
    among = set(tried)
    candidates = [document for document in documents if document.group in among]
    copied: dict[str, float] = defaultdict(float)
    for document, found in zip(candidates, overlaps(candidates, documents, own=True), strict=True):
        copied[document.group] += found * len(document.text) / sizes[document.group]
    clean = [group for group in tried if copied[group] <= max_overlap]
    if not clean:
        least = min(tried, key=lambda group: (copied[group], rank(group, seed)))
        return {least}, copied[least]
    chosen: set[str] = set()
    held = 0
    for group in clean:
        if chosen and held + sizes[group] > 1.5 * share * total:
            continue
        chosen.add(group)
        held += sizes[group]
        if held >= share * total or len(chosen) == len(sizes) - 1:
            break
    return chosen, max(copied[group] for group in chosen)


def _size(documents: Sequence[Document]) -> int:
    return sum(len(document.text) for document in documents)
