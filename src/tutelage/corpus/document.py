"""The document: the unit that is read, selected and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.store.hashing import sha256_text
from tutelage.store.jsonl import Malformed as Malformed  # the one class of places that could not be read

COLUMNS = ("id", "text", "source", "name", "kind", "signature", "summary", "label", "whole")
SCHEMA = pa.schema([(column, pa.string()) for column in COLUMNS])
ROW_GROUP = 1000
_REPEATED = ["source", "kind", "label", "whole"]  # columns worth a dictionary; one of texts would hold them twice


@dataclass(frozen=True, slots=True)
class Document:
    """One text with what is known about it; the fields are the columns of the Parquet files.

    `id` names the document as it was read (source, name and cleaned text, before reduction to prose), so
    that it stays the same through every step. `whole` names the longer text that it is a piece of, if it is one.
    """

    id: str
    text: str
    source: str
    name: str | None = None
    kind: str = "text"
    signature: str | None = None
    summary: str | None = None
    label: str | None = None
    whole: str | None = None

    @property
    def group(self) -> str:
        """What may not be torn apart by the split: the text that this is a piece of, or the document itself."""
        return self.whole or self.id

    def with_text(self, text: str) -> Document:
        return replace(self, text=text)


def document_id(source: str, name: str | None, text: str) -> str:
    """16 hexadecimal digits of SHA-256 over source, name and text."""
    return sha256_text(f"{source}\0{name or ''}\0{text}")[:16]


def table_of(documents: Sequence[Document]) -> pa.Table:
    columns = [pa.array([getattr(one, column) for one in documents], pa.string()) for column in COLUMNS]
    return pa.table(columns, schema=SCHEMA)


def parquet_writer(path: Path) -> pq.ParquetWriter:
    """Writes tables of documents, each a row group."""
    return pq.ParquetWriter(path, SCHEMA, compression="zstd", use_dictionary=_REPEATED)


def write_documents(path: Path, documents: Sequence[Document]) -> None:
    """Write documents, sorted by id, as Parquet with string columns."""
    order = sorted(documents, key=lambda document: document.id)
    with parquet_writer(path) as file:
        for begin in range(0, max(len(order), 1), ROW_GROUP):  # in groups: a table of all would be a second copy
            file.write_table(table_of(order[begin : begin + ROW_GROUP]))


def read_documents(path: Path) -> list[Document]:
    """Documents of a Parquet file written by `write_documents`."""
    return [Document(**row) for row in pq.read_table(path, columns=list(COLUMNS)).to_pylist()]
