"""The document: the unit that is read, selected and written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.store.hashing import sha256_text

COLUMNS = ("id", "text", "source", "name", "kind", "signature", "summary", "label")
SCHEMA = pa.schema([(column, pa.string()) for column in COLUMNS])


@dataclass(frozen=True, slots=True)
class Document:
    """One text with what is known about it; the fields are the columns of the Parquet files.

    `id` names the document as it was read (source, name and cleaned text, before reduction to prose), so
    that it stays the same through every step.
    """

    id: str
    text: str
    source: str
    name: str | None = None
    kind: str = "text"
    signature: str | None = None
    summary: str | None = None
    label: str | None = None

    def with_text(self, text: str) -> Document:
        return replace(self, text=text)


@dataclass(frozen=True, slots=True)
class Malformed:
    """A place in the source that could not be read. `line` counts from 1; 0 means the whole file."""

    file: str
    line: int
    why: str


def document_id(source: str, name: str | None, text: str) -> str:
    """16 hexadecimal digits of SHA-256 over source, name and text."""
    return sha256_text(f"{source}\0{name or ''}\0{text}")[:16]


def count_bytes(documents: Iterable[Document]) -> int:
    return sum(len(document.text.encode("utf-8")) for document in documents)


def count_words(documents: Iterable[Document]) -> int:
    return sum(len(document.text.split()) for document in documents)


def write_documents(path: Path, documents: list[Document]) -> None:
    """Write documents, sorted by id, as Parquet with string columns."""
    rows = [asdict(document) for document in sorted(documents, key=lambda document: document.id)]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path, compression="zstd")


def read_documents(path: Path) -> list[Document]:
    """Documents of a Parquet file written by `write_documents`."""
    return [Document(**row) for row in pq.read_table(path, columns=list(COLUMNS)).to_pylist()]
