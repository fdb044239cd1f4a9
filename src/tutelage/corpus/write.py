"""Sides of a corpus as Parquet files, sorted by id, in little memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tutelage.corpus.card import Side
from tutelage.corpus.document import ROW_GROUP, SCHEMA, parquet_writer
from tutelage.corpus.shelf import Shelf, documents_of

_BUCKET_BYTES = 4_000_000  # of text that are sorted in memory at once, where that gives no more than so many
_BUCKETS = 256  # files that are open at once


def write_side(path: Path, documents: Shelf, side: Side, folder: Path) -> None:
    """Write documents sorted by id, and count them in `side`. They are first dealt into files in `folder` by id."""
    with parquet_writer(path) as file:
        for group in _row_groups(_buckets(documents, folder)):
            side.count(documents_of(group))
            file.write_table(pa.Table.from_batches([group]))
        if not len(documents):
            file.write_table(SCHEMA.empty_table())


def _row_groups(buckets: Iterator[pa.Table]) -> Iterator[pa.RecordBatch]:
    """The rows of tables in groups of a thousand; the last may have fewer."""
    rest = SCHEMA.empty_table()
    for bucket in buckets:
        rest = pa.concat_tables([rest, bucket])
        while len(rest) >= ROW_GROUP:
            yield rest.slice(0, ROW_GROUP).combine_chunks().to_batches()[0]
            rest = rest.slice(ROW_GROUP)
    if len(rest):
        yield rest.combine_chunks().to_batches()[0]


def _buckets(documents: Shelf, folder: Path) -> Iterator[pa.Table]:
    """Documents in the order of their ids, as many at a time as make 4 MB of text, or 1/256 of all."""
    ids, sizes = documents.facts.ids[documents.rows], documents.facts.bytes[documents.rows]
    order = np.argsort(ids, kind="stable")
    bucket = np.empty(len(order), np.int32)
    size = max(_BUCKET_BYTES, int(sizes.sum(dtype=np.int64)) // _BUCKETS + 1)
    bucket[order] = np.cumsum(sizes[order], dtype=np.int64) // size
    count = int(bucket.max(initial=-1)) + 1
    if count <= 1:
        yield _by_id(pa.Table.from_batches([batch for _, batch in documents.batches()], SCHEMA))
        return
    del ids, sizes, order
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
            found = reader.read_all()
        path.unlink()
        yield _by_id(found)


def _by_id(table: pa.Table) -> pa.Table:
    whole = table.combine_chunks()
    return whole.take(pc.sort_indices(whole.column("id")))
