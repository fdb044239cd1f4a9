"""Documents on disk between the steps of selection, read a batch at a time; in memory are a few bytes of each.

A shelf is a row of parts (Arrow files), the facts of their documents (numpy arrays) and which documents are kept. A
step that takes documents out gives a shelf of the same parts with fewer rows; one that changes texts writes new parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tutelage.corpus.document import SCHEMA, Document, table_of
from tutelage.store.hashing import sha256_text

I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_BATCH_CHARACTERS, _BATCH_ROWS = 1 << 20, 2000
_PART_CHARACTERS = 1 << 24  # a part ends here, or where the text ends that its last document is a piece of
SIGNED, LABELLED, CODE = 1, 2, 4
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the steps look at without the texts, an entry a document: about 35 bytes.

    `ranks`: place in the split of the text that a document belongs to, a hash of the data seed; it names that text.
    `flags`: SIGNED (has a signature), LABELLED, CODE.
    """

    ids: NDArray[np.bytes_]
    ranks: NDArray[np.uint64]
    bytes: NDArray[np.int32]
    chars: NDArray[np.int32]
    flags: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: I64 | slice) -> Facts:
        return Facts(self.ids[rows], self.ranks[rows], self.bytes[rows], self.chars[rows], self.flags[rows])


def facts_of(batch: pa.RecordBatch, seed: int) -> Facts:
    ids = batch.column("id").to_pylist()
    groups = [whole or id_ for whole, id_ in zip(batch.column("whole").to_pylist(), ids, strict=True)]
    known: dict[str, int] = {}
    ranks = [known[one] if one in known else known.setdefault(one, rank(one, seed)) for one in groups]
    text = batch.column("text")
    flags = SIGNED * _given(batch, "signature") + LABELLED * _given(batch, "label")
    code = pc.equal(batch.column("kind"), "code").to_numpy(zero_copy_only=False)
    return Facts(
        np.array(ids, "S"), np.array(ranks, np.uint64), pc.binary_length(text).to_numpy().astype(np.int32),
        pc.utf8_length(text).to_numpy().astype(np.int32), (flags + CODE * code).astype(np.uint8),
    )  # fmt: skip


def _given(batch: pa.RecordBatch, column: str) -> NDArray[np.int64]:
    given: NDArray[np.bool_] = batch.column(column).is_valid().to_numpy(zero_copy_only=False)
    return given.astype(np.int64)


def joined(facts: Sequence[Facts]) -> Facts:
    if not facts:
        return facts_of(pa.RecordBatch.from_pylist([], SCHEMA), 0)
    return Facts(*(np.concatenate([getattr(one, name) for one in facts]) for name in Facts.__slots__))


def rank(group: str, seed: int) -> int:
    """Place of a text in the split, 0 to 2^64: a hash of the data seed and its id, whatever the others are."""
    return int(sha256_text(f"{seed}:{group}")[:16], 16)


@dataclass(frozen=True, slots=True)
class Part:
    """An Arrow file of documents, or some in memory, and their facts."""

    source: Path | pa.Table
    facts: Facts

    def batches(self) -> Iterator[pa.RecordBatch]:
        if isinstance(self.source, pa.Table):
            yield from self.source.to_batches()
            return
        with pa.OSFile(str(self.source)) as file, pa.ipc.open_file(file) as reader:
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)


@dataclass(frozen=True, slots=True)
class View:
    """A part and the rows of it that are kept (ascending). `first`: the row of the shelf that its first row is.
    `ranks`: of the documents that are kept."""

    part: Part
    rows: I64
    first: int
    ranks: NDArray[np.uint64]

    def batches(self) -> Iterator[tuple[I64, pa.RecordBatch]]:
        """(rows of the shelf, their documents), a batch at a time."""
        begin = 0
        for batch in self.part.batches():
            low, high = np.searchsorted(self.rows, [begin, begin + len(batch)])
            rows = self.rows[low:high]
            if len(rows) == len(batch):
                yield rows + self.first, batch
            elif len(rows):
                yield rows + self.first, batch.take(pa.array(rows - begin))
            begin += len(batch)


@dataclass(frozen=True, slots=True)
class Shelf:
    """`facts`: of all documents of all parts, one behind the other. `rows`: those that are kept, ascending."""

    parts: tuple[Part, ...]
    facts: Facts
    rows: I64
    seed: int = 0

    @classmethod
    def of(cls, source: Iterable[Document] | Sequence[Part], seed: int = 0) -> Shelf:
        """A shelf of parts, or of documents in memory."""
        given = list(source)
        documents = [one for one in given if isinstance(one, Document)]
        parts = [one for one in given if isinstance(one, Part)]
        if documents or not parts:
            batch = batch_of(documents)
            parts = [Part(pa.Table.from_batches([batch]), facts_of(batch, seed))]
        facts = joined([part.facts for part in parts])
        ends = np.cumsum([len(part.facts) for part in parts]).tolist()
        shared = [  # the parts look into the facts of all, so that these are in memory once
            Part(part.source, facts.take(slice(begin, end)))
            for part, begin, end in zip(parts, [0, *ends], ends, strict=False)
        ]
        return cls(tuple(shared), facts, np.arange(len(facts)), seed)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def kept(self) -> Facts:
        """Facts of the documents that are kept."""
        return self.facts if len(self.rows) == len(self.facts) else self.facts.take(self.rows)

    @property
    def size(self) -> int:
        """UTF-8 bytes of the texts."""
        return int(self.facts.bytes[self.rows].sum(dtype=np.int64))

    def only(self, rows: I64) -> Shelf:
        """The same shelf with fewer documents, by their rows."""
        return replace(self, rows=np.sort(rows))

    def apart(self) -> Shelf:
        """The same documents, each a text of its own."""
        ranks = np.array([rank(one.decode("utf-8"), self.seed) for one in self.facts.ids.tolist()], np.uint64)
        return replace(self, facts=replace(self.facts, ranks=ranks))

    def views(self) -> list[View]:
        """The parts that have kept documents, one for each worker's task."""
        views, first = [], 0
        for part in self.parts:
            low, high = np.searchsorted(self.rows, [first, first + len(part.facts)])
            if high > low:
                rows = self.rows[low:high]
                views.append(View(part, rows - first, first, self.facts.ranks[rows]))
            first += len(part.facts)
        return views

    def batches(self) -> Iterator[tuple[I64, pa.RecordBatch]]:
        for view in self.views():
            yield from view.batches()

    def documents(self) -> Iterator[Document]:
        for _, batch in self.batches():
            yield from documents_of(batch)

    def texts(self) -> Iterator[str]:
        for _, batch in self.batches():
            yield from batch.column("text").to_pylist()

    def fetch(self, rows: I64) -> list[Document]:
        """Documents by their rows, in the order of the rows given."""
        found: dict[int, Document] = {}
        for at, batch in self.only(np.unique(rows)).batches():
            found.update(zip(at.tolist(), documents_of(batch), strict=True))
        return [found[row] for row in rows.tolist()]


def documents_of(batch: pa.RecordBatch) -> list[Document]:
    return [Document(*row) for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)]


def batch_of(documents: Sequence[Document]) -> pa.RecordBatch:
    return table_of(documents).combine_chunks().to_batches()[0] if documents else pa.RecordBatch.from_pylist([], SCHEMA)


@dataclass(slots=True)
class ShelfWriter:
    """Writes documents as parts `PATH-0.arrow`, `PATH-1.arrow`, ... of about 16 MB."""

    path: Path
    seed: int
    parts: list[Part] = field(default_factory=list)
    _documents: list[Document] = field(default_factory=list)
    _characters: int = 0
    _in_part: int = 0
    _file: pa.OSFile | None = None
    _writer: pa.ipc.RecordBatchFileWriter | None = None
    _facts: list[Facts] = field(default_factory=list)
    _last: str | None = None

    def add(self, document: Document) -> None:
        if self._in_part >= _PART_CHARACTERS and not self._goes_on(document):
            self._end_part()
        self._documents.append(document)
        self._last = document.whole
        self._characters += len(document.text)
        self._in_part += len(document.text)
        if self._characters >= _BATCH_CHARACTERS or len(self._documents) >= _BATCH_ROWS:
            self._write()

    def close(self) -> list[Part]:
        self._end_part()
        return self.parts

    def _goes_on(self, document: Document) -> bool:
        return document.whole is not None and document.whole == self._last

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Documents that are already a batch; they are not mixed with single ones."""
        if not len(batch):
            return
        if self._writer is None:
            self._file = pa.OSFile(str(self._place), "wb")
            self._writer = pa.ipc.new_file(self._file, SCHEMA, options=_OPTIONS)
        self._writer.write_batch(batch)
        self._facts.append(facts_of(batch, self.seed))

    def _write(self) -> None:
        if self._documents:
            self.add_batch(batch_of(self._documents))
        self._documents, self._characters = [], 0

    @property
    def _place(self) -> Path:
        return self.path.with_name(f"{self.path.name}-{len(self.parts)}.arrow")

    def _end_part(self) -> None:
        self._write()
        if self._writer is not None and self._file is not None:
            self._writer.close()
            self._file.close()
            self.parts.append(Part(self._place, joined(self._facts)))
        self._writer = self._file = None
        self._facts, self._in_part = [], 0
