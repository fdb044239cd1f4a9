"""Sides of a corpus as Parquet files, sorted by id, in little memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from tutelage.corpus.card import Side
from tutelage.corpus.document import ROW_GROUP, SCHEMA, Document, parquet_writer, table_of
from tutelage.corpus.shelf import Shelf, documents_of

_BUCKET_BYTES = 16_000_000  # of text that are sorted in memory at once


def write_side(path: Path, documents: Shelf, side: Side, folder: Path) -> None:
    """Write documents sorted by id, and count them in `side`. They are first dealt into files in `folder` by id."""
    with parquet_writer(path) as file:
        group: list[Document] = []
        for bucket in _buckets(documents, folder):
            side.count(bucket)
            group += bucket
            while len(group) >= ROW_GROUP:
                file.write_table(table_of(group[:ROW_GROUP]))
                group = group[ROW_GROUP:]
        if group or not len(documents):
            file.write_table(table_of(group))


def _buckets(documents: Shelf, folder: Path) -> Iterator[list[Document]]:
    """Documents in the order of their ids, as many at a time as make 16 MB of text."""
    facts = documents.kept
    order = np.argsort(facts.ids, kind="stable")
    bucket = np.empty(len(order), np.int64)
    bucket[order] = np.cumsum(facts.bytes[order], dtype=np.int64) // _BUCKET_BYTES
    count = int(bucket.max(initial=0)) + 1
    if count == 1:
        yield sorted(documents.documents(), key=lambda one: one.id)
        return
    paths = [folder / f"bucket-{number}.arrow" for number in range(count)]
    writers = [
        pa.ipc.new_stream(str(path), SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4")) for path in paths
    ]
    begin = 0
    for _, batch in documents.batches():
        mine = bucket[begin : begin + len(batch)]
        for number in np.unique(mine).tolist():
            writers[number].write_batch(batch.take(pa.array(np.flatnonzero(mine == number))))
        begin += len(batch)
    for writer in writers:
        writer.close()
    for path in paths:
        with pa.ipc.open_stream(str(path)) as reader:
            found = [document for batch in reader for document in documents_of(batch)]
        path.unlink()
        yield sorted(found, key=lambda one: one.id)
