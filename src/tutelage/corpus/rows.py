"""Rows (of JSON, CSV, Parquet, datasets) as documents, and what reading a file gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.corpus.boundaries import without_markers
from tutelage.corpus.clean import clean_text
from tutelage.corpus.document import Document, Malformed, document_id

PLACES = 100  # that could not be read, which are listed; the others are counted
_KNOWN = ("source", "name", "kind", "signature", "summary")


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of the source: where it is, its path below the source folder, the label its folder gives it."""

    path: Path
    name: str
    label: str | None

    @property
    def title(self) -> str:
        name = self.name.rsplit("/", 1)[-1]
        return name.split(".")[0] or name


@dataclass(slots=True)
class Reading:
    """What came out of files: documents, and an account of everything else.

    `malformed`: the first places that could not be read; `unread`: how many there are. `ignored`: keys of rows that
    were not used, with counts. `decoded`: (file, remark) of each text that was not clean UTF-8. `skipped`: what was
    left out on purpose, with counts. `boundaries`: (file, boundary, documents, pieces that they were cut into) of each
    text file. `write`: takes the documents as they are read, so that they need not all be in memory; then `documents`
    stays empty.
    """

    documents: list[Document] = field(default_factory=list)
    malformed: list[Malformed] = field(default_factory=list)
    unread: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    decoded: list[tuple[str, str]] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    boundaries: list[tuple[str, str, int, int]] = field(default_factory=list)
    write: Callable[[Document], None] | None = None

    def give(self, documents: Iterable[Document]) -> None:
        if self.write is None:
            self.documents += documents
        else:
            for document in documents:
                self.write(document)

    def refuse(self, place: Malformed) -> None:
        """Note a place that could not be read. Millions of rows may be wrong in the same way: the first are kept."""
        self.unread += 1
        if len(self.malformed) < PLACES:
            self.malformed.append(place)

    def skip(self, what: str, count: int = 1) -> None:
        self.skipped[what] = self.skipped.get(what, 0) + count

    def add(self, other: Reading) -> None:
        self.give(other.documents)
        self.malformed += other.malformed[: PLACES - len(self.malformed)]
        self.unread += other.unread
        self.decoded += other.decoded
        self.boundaries += other.boundaries
        for key, count in other.ignored.items():
            self.ignored[key] = self.ignored.get(key, 0) + count
        for what, count in other.skipped.items():
            self.skip(what, count)


def make_document(
    file: InputFile, text: str, name: str | None, kind: str = "text", whole: str | None = None
) -> Document:
    """A document of a text that is already clean (see `clean_text`)."""
    return Document(document_id(file.name, name, text), text, file.name, name, kind, label=file.label, whole=whole)


def take_row(file: InputFile, number: int, row: Any, reading: Reading, text_field: str, label_field: str) -> None:
    """Add the document of one row, or what is wrong with it. `number` is its line, or its place among the rows."""
    if not isinstance(row, dict):
        reading.refuse(Malformed(file.name, number, "not a JSON object"))
        return
    if not isinstance(row.get(text_field), str):
        why = f"no {text_field!r}" if row.get(text_field) is None else f"{text_field!r} is not a string"
        reading.refuse(Malformed(file.name, number, f"{why}; it has: {', '.join(map(str, row))[:200]}"))
        return
    for key in row:
        if key not in (text_field, label_field, "id", *_KNOWN):
            reading.ignored[key] = reading.ignored.get(key, 0) + 1
    text = clean_text("\n\n".join(without_markers(row[text_field])))
    known = {key: _string(row.get(key)) for key in _KNOWN}
    source = known["source"] or file.name
    label = _string(row.get(label_field)) or file.label
    reading.give([
        Document(
            document_id(source, known["name"], text), text, source, known["name"], known["kind"] or "text",
            known["signature"], known["summary"], label,
        )
    ])  # fmt: skip


def no_column(file: InputFile, text_field: str, columns: list[str]) -> Malformed:
    shown = ", ".join(columns)[:300]
    return Malformed(file.name, 0, f"no column {text_field!r}; it has: {shown}; name one in corpus.text_field")


def _string(value: Any) -> str | None:
    """A value as one line of clean text; None for nothing."""
    if value is None or isinstance(value, (dict, list)):
        return None
    return " ".join(clean_text(str(value)).split()) or None
