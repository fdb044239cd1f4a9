"""Encode the texts of a corpus file batch by batch, for token shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.bulk import Encoded
from tutelage.tokenizer.tokenizer import Tokenizer

_ROWS = 1000  # documents that are read at a time
_BYTES = 16_000_000  # of text that is encoded at a time


class MistakenEncoderError(InputError):
    """The fast encoder was found to give other ids than `tokenizers`, after texts had been encoded by it."""


def encoded_texts(
    source: Path, tok: Tokenizer, log: EventLog, what: str, only: tuple[str, str] | None = None
) -> Iterator[Encoded]:
    """Ids of the `text` column of a Parquet file, in its order; memory does not grow with the file.

    `only`: a column and what a document must have in it (null counts as empty). `what`: the label of the progress. An
    event names the library that encoded; if it is not the fast one, there is a note. Raises
    MistakenEncoderError if ids yielded so far may be wrong; encode once more, and `tokenizers` gives them.
    """
    mistaken = tok.mistaken
    file = pq.ParquetFile(source)
    done, total = 0, file.metadata.num_rows
    for batch in file.iter_batches(_ROWS, columns=["text", *([only[0]] if only else [])]):
        table = pa.table(batch)
        if only:
            wanted = [(value or "") == only[1] for value in table[only[0]].to_pylist()]
            table = table.filter(pa.array(wanted, pa.bool_()))
        for texts in _portions(table["text"].combine_chunks()):
            ids = tok.encode_flat(texts)
            if tok.mistaken != mistaken:
                raise MistakenEncoderError(str(tok.mistaken))
            yield ids
        done += batch.num_rows
        log.progress(what, done, total, "documents")
    log.emit("encoder", what=what, library=tok.encoder)
    if tok.slow_because:
        log.note(f"{what}: by {tok.encoder}")


def _portions(column: pa.Array) -> Iterator[list[str]]:
    """Texts in their order, in lists of about `_BYTES`."""
    rows = max(1, int(len(column) * _BYTES / max(_BYTES, column.nbytes)))
    for start in range(0, len(column), rows):
        yield column.slice(start, rows).to_pylist()
