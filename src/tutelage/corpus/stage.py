"""The corpus stage: read, clean, reduce to prose, deduplicate, split, take out leaks, write, account.

Documents lie on disk between the steps (see `shelf.py`), beside the result; in memory are a few bytes of each.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.corpus.card import Side, Step, Tally, make_card, render_card
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.croissant import croissant
from tutelage.corpus.document import Document
from tutelage.corpus.hub import hub_identity, read_hub
from tutelage.corpus.look import REMOVED
from tutelage.corpus.measures import Sample, copying, diversity, take_sample
from tutelage.corpus.parallel import pool
from tutelage.corpus.pieces import without_duplicate_pieces
from tutelage.corpus.private import in_languages, without_blocked, without_pii
from tutelage.corpus.published.step import by_published_rules
from tutelage.corpus.python_docs import PythonFile, package_versions, python_files, read_python_file
from tutelage.corpus.readers import read_file
from tutelage.corpus.rows import InputFile, Reading
from tutelage.corpus.selection.card import markdown_of_measures
from tutelage.corpus.selection.variety import variety_of
from tutelage.corpus.shelf import I64, Part, Shelf, ShelfWriter
from tutelage.corpus.sources import files_identity, input_files, other_files
from tutelage.corpus.steps import (
    account_of_reading,
    limited,
    refuse_nothing,
    sides,
    to_prose,
    without_exact_duplicates,
    without_near_duplicates,
    without_shared_paragraphs,
    without_short,
)
from tutelage.corpus.tell import tell_losses, tell_reading
from tutelage.corpus.workshop import Workshop
from tutelage.corpus.write import write_side
from tutelage.store.events import EventLog
from tutelage.store.files import write_atomic, write_json
from tutelage.store.hashing import sha256_files
from tutelage.store.jsonl import write_json_lines

_FILES_TOGETHER, _BYTES_TOGETHER = 32, 8_000_000  # read by one worker at a time
Readers = Callable[[Callable[[Document], None]], Reading]


def build_corpus(
    config: CorpusConfig, out: Path, log: EventLog, seed: int, workers: int = 0, work: Path | None = None
) -> dict[str, Any]:
    """Fill `out` with train.parquet, heldout.parquet, card.json, card.md, croissant.json and removed.jsonl; returns the
    main figures.

    `seed` is the data seed: the split depends on it, and nothing before the split does. The files do not depend on
    `workers` (0: one per processor). In `work` (default: a folder beside `out`) the documents lie while it runs. Raises
    ConfigError for a source that is not there, InputError for one that holds no usable text, too few documents, or
    mostly source code where prose is asked for.
    """
    begin = time.perf_counter()
    timing: dict[str, float] = {}

    def lap(name: str) -> None:
        timing[name] = round(time.perf_counter() - begin - sum(timing.values()), 3)

    steps: list[Step] = []
    levels: list[Sample] = []

    def reached(level: str, documents: Shelf) -> None:
        if config.measure_selection:
            levels.append(take_sample(level, documents, config.heldout))

    with pool(workers) as processes, _folder(work or out.with_name(f"{out.name}.parts")) as folder:
        shop = Workshop(folder, seed, log, processes)
        reading, empty, documents, files = _read(config, shop)
        tell_reading(reading, config, log)
        account_of_reading(documents, reading, empty, steps, config.source)
        if config.max_documents:
            documents = limited(documents, config.max_documents, steps)
        reached("raw", documents)
        lap("read")

        if config.languages:
            documents = shop.replaced(documents, in_languages(documents, config, steps, shop))
            refuse_nothing(documents, steps)
        if config.rules:
            documents = shop.replaced(documents, by_published_rules(documents, config, steps, shop))
            refuse_nothing(documents, steps)
        if config.prose:
            documents = shop.replaced(documents, to_prose(documents, config, steps, shop))
            reached("prose", documents)
        else:
            documents = without_short(documents, config.min_words, steps, shop)
        refuse_nothing(documents, steps)
        if config.blocklist:
            documents = shop.replaced(documents, without_blocked(documents, config, steps, shop))
            refuse_nothing(documents, steps)
        if config.pii != "keep":
            documents = shop.replaced(documents, without_pii(documents, config, steps, shop))
            refuse_nothing(documents, steps)
        lap("prose")

        log.progress("duplicates and leaks", 0, 4, "steps")
        documents = without_exact_duplicates(documents, steps, shop)
        reached("exact-deduplicated", documents)
        log.progress("duplicates and leaks", 1, 4, "steps")
        if config.drop_banners:
            documents = shop.replaced(documents, without_shared_paragraphs(documents, config.min_words, steps, shop))
        if config.duplicate_pieces != "keep":
            documents = shop.replaced(documents, without_duplicate_pieces(documents, config, steps, shop))
            refuse_nothing(documents, steps)
        log.progress("duplicates and leaks", 2, 4, "steps")
        documents = without_near_duplicates(documents, config, steps, shop)
        reached("near-deduplicated", documents)
        lap("duplicates")

        chosen: dict[str, Any] = {}
        if config.select:
            from tutelage.corpus.selection.step import select_documents  # late: scikit-learn is slow to import

            documents, chosen = select_documents(documents, config, steps, log)
            reached("selected by measure", documents)
            lap("selection")

        log.progress("duplicates and leaks", 3, 4, "steps")
        train, heldout = sides(documents, config, steps, shop)
        log.progress("duplicates and leaks", 4, 4, "steps")
        lap("split")
        tell_losses(steps, config, log)

        reached("selected", documents.only(_union(train, heldout)))
        selection = list(shop.told("measure selection", "levels", copying, levels, [1] * len(levels)))
        variety = diversity(train)
        varied = variety_of(train) if config.measure_selection else {}
        lap("measures")

        out.mkdir(parents=True, exist_ok=True)
        written = {name: Side() for name in ("train", "heldout")}
        for (name, side), shelf in zip(written.items(), (train, heldout), strict=True):
            write_side(out / f"{name}.parquet", shelf, side, folder)
    source = config.source if config.source == "python" or config.source.startswith("hf:") else ""
    card = make_card(
        source or Path(config.source).name, seed, written["train"], written["heldout"], steps, variety, selection,
        reading, files,
    )  # fmt: skip
    if varied:
        card["variety"] = varied
    if chosen:
        card["select"] = chosen
    if config.source == "python":
        card["packages"] = package_versions(config.packages)
    write_json(out / "card.json", card)
    write_json(out / "croissant.json", croissant(card, out))
    write_json_lines(out / REMOVED, ({"step": step.name, **one} for step in steps for one in step.shown))
    write_atomic(out / "card.md", render_card(card) + markdown_of_measures(card))
    lap("write")
    return {
        "documents": card["documents"],
        "bytes": card["bytes"],
        "train_documents": len(train),
        "heldout_documents": len(heldout),
        "documents_read": steps[0].documents_in,
        "malformed": len(reading.malformed),
        "labels": len(card["labels"]),
        "described": card["described"],
        "timing": timing,
    }


def source_identity(config: CorpusConfig) -> str:
    """Hash of the content of the input files and their relative names; where they lie does not matter."""
    if config.source.startswith("hf:"):
        return hub_identity(config.source)
    if config.source == "python":
        found = python_files(config.packages, config.exclude_tests)
        return sha256_files([(f"{file.package}:{file.name}", file.path) for file in found])
    return files_identity(input_files(config.source))


@contextmanager
def _folder(folder: Path) -> Iterator[Path]:
    """A folder for documents between the steps, empty at first, gone afterwards."""
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _union(train: Shelf, heldout: Shelf) -> I64:
    return np.concatenate([train.rows, heldout.rows])


def _read(config: CorpusConfig, shop: Workshop) -> tuple[Reading, Tally, Shelf, int]:
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
    writer, empty = ShelfWriter(folder / f"read-{number}", seed), Tally()

    def write(document: Document) -> None:
        if document.text:
            writer.add(document)
        else:
            empty.remove(document, "empty")

    return read(write), empty, writer.close()


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
