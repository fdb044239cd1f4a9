"""The data card: content of the corpus, and documents removed by each step and reason, with examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from tutelage.corpus.document import Document
from tutelage.corpus.rows import Reading
from tutelage.corpus.shelf import I64, Shelf

EXAMPLES = 5  # on the card; of each reason
KEPT = 40  # to be looked at; of each reason
_SHOWN, _KEPT_CHARACTERS = 300, 2000  # characters of a text on the card, and of one that is kept to be looked at
_DECODED_SHOWN = 100


@dataclass(slots=True)
class Step:
    """One step of selection: documents and UTF-8 bytes before and after, and removals by reason."""

    name: str
    what: str
    documents_in: int
    documents_out: int
    bytes_in: int
    bytes_out: int
    removed: dict[str, int]
    examples: list[dict[str, Any]]
    pieces: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Removed parts of documents (prose step): rule -> what, count, bytes, examples."""
    shown: list[dict[str, Any]] = field(default_factory=list)
    """More and longer examples that are not on the card."""

    def plain(self) -> dict[str, Any]:
        record = asdict(self)
        del record["shown"]
        if not self.pieces:
            del record["pieces"]
        return record


@dataclass(slots=True)
class Tally:
    """Removals of a step: number of documents per reason, with the first ones by id; for parts of documents (by rule)
    also bytes. Tallies of parts of a corpus can be added."""

    removed: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)
    pieces: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    """Other counts of a step."""

    def remove(self, document: Document, reason: str, kept: Document | None = None) -> None:
        self.removed[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < KEPT or document.id < examples[-1][0]:
            self.examples[reason] = _first([*examples, (document.id, _example(document, reason, kept))])

    def piece(self, rule: str, count: int, size: int, example: str, id_: str) -> None:
        """Count `count` removed pieces of a document, with `size` bytes in total."""
        self.pieces[rule] += count
        self.bytes[rule] += size
        shown = self.shown.setdefault(rule, [])
        if len(shown) < EXAMPLES or (id_, example) < shown[-1]:
            self.shown[rule] = _different([*shown, (id_, example)])

    def add(self, other: Tally) -> None:
        for mine, theirs in (
            (self.removed, other.removed), (self.pieces, other.pieces), (self.bytes, other.bytes),
            (self.counts, other.counts),
        ):  # fmt: skip
            mine.update(theirs)
        for reason, examples in other.examples.items():
            self.examples[reason] = _first([*self.examples.get(reason, []), *examples])
        for rule, shown in other.shown.items():
            self.shown[rule] = _different([*self.shown.get(rule, []), *shown])

    def plain_pieces(self, rules: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """Removed parts of documents by rule; `rules` describes what each removes."""
        return {
            rule: {
                "what": what,
                "count": self.pieces[rule],
                "bytes": self.bytes[rule],
                "examples": [piece for _, piece in self.shown.get(rule, [])],
            }
            for rule, what in rules.items()
        }


def _first(examples: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(examples, key=lambda one: one[0])[:KEPT]


def _different(shown: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The first examples by id with distinct texts."""
    first: dict[str, tuple[str, str]] = {}
    for one in sorted(shown):
        first.setdefault(one[1], one)
    return list(first.values())[:EXAMPLES]


def tally_rows(before: Shelf, reason: str, gone: I64, kept: I64 | None = None) -> Tally:
    """The tally of removed documents, given by their rows; `kept`: the row of the document kept instead of each."""
    tally = Tally()
    if len(gone):
        first = np.argsort(before.facts.ids[gone], kind="stable")[:KEPT]
        instead = before.fetch(kept[first]) if kept is not None else []
        for document, other in zip_longest(before.fetch(gone[first]), instead):
            tally.remove(document, reason, other)
        tally.removed[reason] = len(gone)
    return tally


def make_step(name: str, what: str, before: Shelf, after: Shelf, tally: Tally, read: int | None = None) -> Step:
    """The record of a step; the tally must explain every document of `before` that is not in `after`. `read`: number of
    input documents, if it includes empty ones."""
    came = len(before) if read is None else read
    assert came - tally.removed.total() == len(after), f"step {name} does not add up"
    removed = dict(sorted(tally.removed.items()))
    examples = [_on_card(example) for reason in removed for _, example in tally.examples[reason][:EXAMPLES]]
    shown = [example for reason in removed for _, example in tally.examples[reason]]
    return Step(name, what, came, len(after), before.size, after.size, removed, examples, shown=shown)


def _example(document: Document, reason: str, kept: Document | None) -> dict[str, Any]:
    text = shorten(document.text, _KEPT_CHARACTERS)
    record = {"reason": reason, "id": document.id, "name": document.name, "text": text}
    if kept is not None:
        record |= {"kept_id": kept.id, "kept_name": kept.name, "kept_text": shorten(kept.text, _KEPT_CHARACTERS)}
    return record


def _on_card(example: dict[str, Any]) -> dict[str, Any]:
    return {key: shorten(value) if key in ("text", "kept_text") else value for key, value in example.items()}


def shorten(text: str, longest: int = _SHOWN) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


@dataclass(slots=True)
class Side:
    """Counts of a split, made while it is written."""

    documents: int = 0
    bytes: int = 0
    words: int = 0
    described: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)

    def count(self, documents: Iterable[Document]) -> None:
        for one in documents:
            self.documents += 1
            self.bytes += len(one.text.encode("utf-8"))
            self.words += len(one.text.split())
            self.described += bool(one.signature and one.summary)
            self.sources[one.source] += 1
            self.kinds[one.kind] += 1
            if one.label:
                self.labels[one.label] += 1

    def plain(self) -> dict[str, int]:
        return {"documents": self.documents, "bytes": self.bytes, "words": self.words}


def make_card(
    source: str,
    seed: int,
    train: Side,
    heldout: Side,
    steps: list[Step],
    diversity: dict[str, Any],
    selection: list[dict[str, Any]],
    reading: Reading,
    files: int,
) -> dict[str, Any]:
    """The card as plain data; see docs/corpus.md for its keys."""
    return {
        "source": source,
        "seed": seed,
        "files": files,
        "documents": train.documents + heldout.documents,
        "bytes": train.bytes + heldout.bytes,
        "train": train.plain(),
        "heldout": heldout.plain(),
        "steps": [step.plain() for step in steps],
        "labels": _counts(train.labels + heldout.labels),
        "sources": _counts(train.sources + heldout.sources),
        "kinds": _counts(train.kinds + heldout.kinds),
        "described": train.described + heldout.described,
        "diversity": diversity,
        "selection": selection,
        "malformed": [asdict(place) for place in reading.malformed],
        "malformed_count": reading.unread,
        "decoded": [{"file": file, "how": how} for file, how in reading.decoded[:_DECODED_SHOWN]],
        "decoded_count": len(reading.decoded),
        "skipped": dict(sorted(reading.skipped.items())),
        "boundaries": _boundaries(reading),
        "ignored_fields": dict(sorted(reading.ignored.items())),
    }


def _boundaries(reading: Reading) -> dict[str, dict[str, int]]:
    """Numbers of text files, documents and pieces by document boundary."""
    totals: dict[str, dict[str, int]] = {}
    for _, boundary, documents, pieces in sorted(reading.boundaries, key=lambda one: one[1]):
        record = totals.setdefault(boundary, {"files": 0, "documents": 0, "pieces": 0})
        for key, more in (("files", 1), ("documents", documents), ("pieces", pieces)):
            record[key] += more
    return totals


def _counts(counts: Counter[str]) -> dict[str, int]:
    """Counts, largest first, equal ones by name."""
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
