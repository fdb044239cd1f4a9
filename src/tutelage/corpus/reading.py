"""Reading the source of a corpus: files in groups, each a task whose documents end up in parts of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tutelage.corpus.card import Tally
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.document import Document
from tutelage.corpus.finished import finish, finished
from tutelage.corpus.hub import read_hub
from tutelage.corpus.python_docs import PythonFile, python_files, read_python_file
from tutelage.corpus.readers import read_file
from tutelage.corpus.rows import InputFile, Reading
from tutelage.corpus.shelf import Part, Shelf, ShelfWriter
from tutelage.corpus.sources import input_files, other_files
from tutelage.corpus.workshop import Workshop

_FILES_TOGETHER, _BYTES_TOGETHER = 32, 8_000_000  # read by one worker at a time
Readers = Callable[[Callable[[Document], None]], Reading]


def read_source(config: CorpusConfig, shop: Workshop) -> tuple[Reading, Tally, Shelf, int]:
    """(what else than documents was read, empty documents, documents in the order of their files, number of files)."""
    sources: list[Readers]
    sizes = [1]
    if config.source.startswith("hf:"):
        sources = [partial(_read_hub, config=config)]
    elif config.source == "python":
        python = python_files(config.packages, config.exclude_tests)
        chunks = [python[begin : begin + _FILES_TOGETHER] for begin in range(0, len(python), _FILES_TOGETHER)]
        sources, sizes = [partial(_read_python, files=chunk) for chunk in chunks], list(map(len, chunks))
    else:
        groups = _groups(input_files(config.source))
        sources, sizes = [partial(_read_files, files=group, config=config) for group in groups], list(map(len, groups))
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


def _groups(files: Sequence[InputFile]) -> list[list[InputFile]]:
    """Files that are read together: small ones up to 8 MB; groups do not depend on the workers."""
    groups: list[list[InputFile]] = []
    size = 0
    for file in files:
        more = _size(file.path)
        if not groups or size + more > _BYTES_TOGETHER or len(groups[-1]) >= _FILES_TOGETHER:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += more
    return groups


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # said when it is read
        return 0


def _read_parts(folder: Path, seed: int, task: tuple[int, Readers]) -> tuple[Reading, Tally, list[Part]]:
    number, read = task
    place = folder / f"read-{number}"
    if done := finished(place, seed):
        parts, empty, reading = done
        return reading, empty, parts
    writer, empty = ShelfWriter(place, seed), Tally()

    def write(document: Document) -> None:
        if document.text:
            writer.add(document)
        else:
            empty.remove(document, "empty")

    reading, parts = read(write), writer.close()
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
        reading.malformed += malformed
    return reading


def _read_files(write: Callable[[Document], None], files: Sequence[InputFile], config: CorpusConfig) -> Reading:
    whole = Reading()
    for file in files:
        whole.add(read_file(file, config, write))
    return whole
