"""Reading the source of a corpus: files in groups, each a task whose documents end up in parts of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from tutelage.corpus.card import Tally
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.document import Document
from tutelage.corpus.finished import finish, finished
from tutelage.corpus.hub import read_hub
from tutelage.corpus.python_docs import PythonFile, python_files, read_python_file
from tutelage.corpus.readers import read_file
from tutelage.corpus.rows import InputFile, Reading
from tutelage.corpus.shelf import I64, Part, Shelf, ShelfWriter
from tutelage.corpus.sources import input_files, other_files
from tutelage.corpus.workshop import Workshop
from tutelage.store.errors import InputError

_MODULES_TOGETHER = 32  # of Python, read by one worker at a time
# The same of other files: each group is a part, which costs 5 ms a step.
_FILES_TOGETHER, _BYTES_TOGETHER = 512, 8_000_000
Readers = Callable[[Callable[[Document], None]], Reading]


def read_source(config: CorpusConfig, shop: Workshop) -> tuple[Reading, Tally, Shelf, int]:
    """(what else than documents was read, empty documents, documents in the order of their files, number of files)."""
    sources: list[Readers]
    sizes = [1]
    if config.source.startswith("hf:"):
        sources = [partial(_read_hub, config=config)]
    elif config.source == "python":
        python = python_files(config.packages, config.exclude_tests)
        chunks = [python[begin : begin + _MODULES_TOGETHER] for begin in range(0, len(python), _MODULES_TOGETHER)]
        sources, sizes = [partial(_read_python, files=chunk) for chunk in chunks], list(map(len, chunks))
    else:
        groups = _groups(input_files(config.source))
        sources = [partial(_read_files, files=group, config=config, states=states) for group, states in groups]
        sizes = [len(group) for group, _ in groups]
    whole, empty, parts = Reading(), Tally(), []
    tasks = list(enumerate(sources))
    for reading, tally, made in shop.told("read", "files", partial(_read_parts, shop.folder, shop.seed), tasks, sizes):
        whole.add(reading)
        empty.add(tally)
        parts += made
    for what, number in other_files(config.source).items() if not _is_named(config.source) else ():
        whole.skip(what, number)
    return whole, empty, Shelf.of(parts, shop.seed), sum(sizes)


def _is_named(source: str) -> bool:
    """Whether a source is no place on this machine."""
    return source == "python" or source.startswith("hf:")


def _groups(files: Sequence[InputFile]) -> list[tuple[list[InputFile], I64]]:
    """Files that are read together, and their states: small ones up to 8 MB; groups do not depend on the workers."""
    groups: list[tuple[list[InputFile], list[int]]] = []
    size = 0
    for file in files:
        state = _state(file.path)
        if not groups or size + state[0] > _BYTES_TOGETHER or len(groups[-1][0]) >= _FILES_TOGETHER:
            groups.append(([], []))
            size = 0
        groups[-1][0].append(file)
        groups[-1][1].extend(state)
        size += state[0]
    return [(group, np.array(states, np.int64).reshape(-1, 2)) for group, states in groups]


def _state(path: Path) -> tuple[int, int]:
    """(size, time of the last change in nanoseconds)."""
    try:
        found = path.stat()
    except OSError:  # said when it is read
        return 0, 0
    return found.st_size, found.st_mtime_ns


class _NotWritten(Exception):
    """A document could not be written: none of the errors that a reader takes for a damaged file."""


def _read_parts(folder: Path, seed: int, task: tuple[int, Readers]) -> tuple[Reading, Tally, list[Part]]:
    number, read = task
    place = folder / f"files-{number}"
    if done := finished(place, seed):
        parts, empty, reading = done
        return reading, empty, parts
    writer, empty = ShelfWriter(place, seed), Tally()

    def write(document: Document) -> None:
        if not document.text:
            empty.remove(document, "empty")
            return
        try:
            writer.add(document)
        except (OSError, pa.ArrowException) as error:  # of the disk that is written to, not of the file that is read
            raise _NotWritten from error

    try:
        reading = read(write)
    except _NotWritten as error:
        assert error.__cause__ is not None
        raise error.__cause__ from None
    parts = writer.close()
    finish(place, parts, empty, reading)
    return reading, empty, parts


def _read_hub(write: Callable[[Document], None], config: CorpusConfig) -> Reading:
    return read_hub(config.source, config.text_field, config.label_field, write)


def _read_python(write: Callable[[Document], None], files: Sequence[PythonFile]) -> Reading:
    reading = Reading()
    for file in files:
        documents, malformed = read_python_file(file)
        for document in documents:
            write(document)
        for place in malformed:
            reading.refuse(place)
    return reading


def _read_files(
    write: Callable[[Document], None], files: Sequence[InputFile], config: CorpusConfig, states: I64
) -> Reading:
    """Raises InputError for a file that is no longer what it was when the source was looked at: the corpus would not be
    that of the source that it is named after, and where it was cut off nobody would know."""
    whole = Reading()
    for file, state in zip(files, states.tolist(), strict=True):
        whole.add(read_file(file, config, write))
        if list(_state(file.path)) != state:
            raise InputError(
                f"{file.name} was changed or removed while the corpus was read",
                hint="run it again when nothing writes to the source, or on a copy",
            )
    return whole
