"""Where a corpus is made: the folder of its parts, the processes that work on them, and who is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from tutelage.corpus.card import Tally
from tutelage.corpus.document import Document
from tutelage.corpus.finished import finish, finished
from tutelage.corpus.parallel import Pool, ordered_map
from tutelage.corpus.shelf import Part, Shelf, ShelfWriter, View, documents_of
from tutelage.store.events import EventLog

_TOLD_SECONDS = 0.3
Item = TypeVar("Item")
Result = TypeVar("Result")
Change = Callable[[Document, int, Tally], Document | None]
"""What becomes of a document, given its row; None takes it out. It tells the tally what went."""
BatchChange = Callable[[pa.RecordBatch, Tally], pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class Workshop:
    """`seed`: the data seed. `processes`: None works in this process."""

    folder: Path
    seed: int
    log: EventLog
    processes: Pool | None = None

    def each(self, function: Callable[[View], Result], views: Sequence[View]) -> Iterator[Result]:
        """`function` of each part, in order."""
        return ordered_map(self.processes, function, views)

    def told(
        self, what: str, unit: str, function: Callable[[Item], Result], items: Sequence[Item], sizes: Sequence[int]
    ) -> Iterator[Result]:
        """`function` of each item, in order, with progress; items do not depend on the workers."""
        done, total, last = 0, sum(sizes), time.monotonic()
        for size, result in zip(sizes, ordered_map(self.processes, function, items), strict=True):
            yield result
            done += size
            if time.monotonic() - last > _TOLD_SECONDS or done == total:
                last = time.monotonic()
                self.log.progress(what, done, total, unit)

    def rewritten(self, documents: Shelf, name: str, change: Change) -> tuple[Shelf, Tally]:
        """The documents after `change`, as new parts, and what went. Parts that are finished already are taken as they
        are (see `finished`)."""
        return self._parts_by(partial(_rewrite, change=change), documents, name)

    def rewritten_batches(self, documents: Shelf, name: str, change: BatchChange) -> tuple[Shelf, Tally]:
        """As `rewritten`, a batch at a time."""
        return self._parts_by(partial(_rewrite_batches, change=change), documents, name)

    def _parts_by(
        self, rewrite: Callable[..., tuple[list[Part], Tally]], documents: Shelf, name: str
    ) -> tuple[Shelf, Tally]:
        views = documents.views()
        work = partial(rewrite, folder=self.folder, name=name.replace(" ", "-"), seed=self.seed)
        tally, parts = Tally(), []
        for made, told in self.told(name, "documents", work, views, [len(view.rows) for view in views]):
            parts += made
            tally.add(told)
        return Shelf.of(parts, self.seed), tally


def _rewrite(view: View, folder: Path, name: str, seed: int, change: Change) -> tuple[list[Part], Tally]:
    task = folder / f"{name}-{view.first}"
    if done := finished(task, seed):
        return done[:2]
    writer, tally = ShelfWriter(task, seed), Tally()
    for rows, batch in view.batches():
        for row, document in zip(rows.tolist(), documents_of(batch), strict=True):
            kept = change(document, row, tally)
            if kept is not None:
                writer.add(kept)
    parts = writer.close()
    finish(task, parts, tally)
    return parts, tally


def _rewrite_batches(view: View, folder: Path, name: str, seed: int, change: BatchChange) -> tuple[list[Part], Tally]:
    task = folder / f"{name}-{view.first}"
    if done := finished(task, seed):
        return done[:2]
    writer, tally = ShelfWriter(task, seed), Tally()
    for _, batch in view.batches():
        writer.add_batch(change(batch, tally))
    parts = writer.close()
    finish(task, parts, tally)
    return parts, tally
