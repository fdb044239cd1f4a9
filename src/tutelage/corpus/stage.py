"""The corpus stage: read, clean, reduce to prose, deduplicate, split, take out leaks, write, account."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tutelage.corpus.card import Step, make_card, render_card
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.document import Document, write_documents
from tutelage.corpus.hub import hub_identity, read_hub
from tutelage.corpus.measures import Sample, copying, diversity, take_sample
from tutelage.corpus.parallel import ordered_map, pool
from tutelage.corpus.python_docs import PythonFile, python_files, read_python_file
from tutelage.corpus.readers import read_file
from tutelage.corpus.rows import InputFile, Reading
from tutelage.corpus.selection.card import markdown_of_measures
from tutelage.corpus.selection.variety import variety
from tutelage.corpus.sources import files_identity, input_files, other_files
from tutelage.corpus.steps import (
    limited,
    refuse_nothing,
    sides,
    to_prose,
    without_empty,
    without_exact_duplicates,
    without_near_duplicates,
    without_shared_paragraphs,
    without_short,
)
from tutelage.corpus.tell import tell_losses, tell_reading
from tutelage.store.events import EventLog
from tutelage.store.files import write_atomic, write_json
from tutelage.store.hashing import sha256_files

_FILES_A_CHUNK = 32
_DOCUMENTS_A_CHUNK = 1000
Pool = ProcessPoolExecutor | None
Item = TypeVar("Item")
Result = TypeVar("Result")


def build_corpus(config: CorpusConfig, out: Path, log: EventLog, seed: int, workers: int = 0) -> dict[str, Any]:
    """Fill `out` with train.parquet, heldout.parquet, card.json and card.md; returns the main figures.

    `seed` is the data seed: the split depends on it, and nothing before the split does. The files do not depend on
    `workers` (0: one per processor). Raises ConfigError for a source that is not there, InputError for one that
    holds no usable text, too few documents, or mostly source code where prose is asked for.
    """
    begin = time.perf_counter()
    timing: dict[str, float] = {}

    def lap(name: str) -> None:
        timing[name] = round(time.perf_counter() - begin - sum(timing.values()), 3)

    steps: list[Step] = []
    levels: list[Sample] = []

    def reached(level: str, documents: list[Document]) -> None:
        if config.measure_selection:
            levels.append(take_sample(level, documents, config.heldout, seed))

    with pool(workers) as processes:
        reading, files = _read(config, log, processes)
        tell_reading(reading, config, log)
        documents = without_empty(reading, steps, config)
        reading.documents = []  # every step frees the texts of the one before
        if config.max_documents:
            documents = limited(documents, config.max_documents, steps)
        reached("raw", documents)
        lap("read")

        if config.prose:
            mapped = partial(
                _mapped, size=_DOCUMENTS_A_CHUNK, what="prose", unit="documents", log=log, processes=processes
            )
            documents = to_prose(documents, config, steps, log, mapped)
            reached("prose", documents)
        else:
            documents = without_short(documents, config.min_words, steps)
        refuse_nothing(documents, steps)
        lap("prose")

        log.progress("duplicates and leaks", 0, 4, "steps")
        documents = without_exact_duplicates(documents, steps)
        reached("exact-deduplicated", documents)
        log.progress("duplicates and leaks", 1, 4, "steps")
        if config.drop_banners:
            documents = without_shared_paragraphs(documents, config.min_words, steps)
        log.progress("duplicates and leaks", 2, 4, "steps")
        documents = without_near_duplicates(documents, config.near_duplicate_threshold, steps, log)
        reached("near-deduplicated", documents)
        lap("duplicates")

        chosen: dict[str, Any] = {}
        if config.select:
            from tutelage.corpus.selection.step import select_documents  # late: scikit-learn is slow to import

            documents, chosen = select_documents(documents, config, steps, log)
            reached("selected by measure", documents)
            lap("selection")

        log.progress("duplicates and leaks", 3, 4, "steps")
        train, heldout = sides(documents, config, seed, steps, log)
        log.progress("duplicates and leaks", 4, 4, "steps")
        lap("split")
        tell_losses(steps, config, log)

        reached("selected", train + heldout)
        selection = list(_mapped(_copying, levels, 1, "measure selection", "levels", log, processes))
        lap("measures")

    source = config.source if config.source == "python" or config.source.startswith("hf:") else ""
    card = make_card(
        source or Path(config.source).name, seed, train, heldout, steps, diversity(train), selection,
        reading, files,
    )  # fmt: skip
    if config.measure_selection:
        card["variety"] = variety([document.text for document in train])
    if chosen:
        card["select"] = chosen
    out.mkdir(parents=True, exist_ok=True)
    write_documents(out / "train.parquet", train)
    write_documents(out / "heldout.parquet", heldout)
    write_json(out / "card.json", card)
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


def _read(config: CorpusConfig, log: EventLog, processes: Pool) -> tuple[Reading, int]:
    """Everything that the source holds, in the order of its files, and the number of files."""
    if config.source.startswith("hf:"):
        return read_hub(config.source, config.text_field, config.label_field), 1
    parts: Iterable[Reading]
    if config.source == "python":
        python = python_files(config.packages, config.exclude_tests)
        count = len(python)
        parts = _mapped(_read_python, python, _FILES_A_CHUNK, "read", "files", log, processes)
    else:
        files = input_files(config.source)
        count = len(files)
        read = partial(_read_files, config=config)
        parts = _mapped(read, files, 1, "read", "files", log, processes)
    whole = Reading()
    for part in parts:
        whole.add(part)
    for what, number in other_files(config.source).items() if config.source != "python" else ():
        whole.skip(what, number)
    return whole, count


def _read_python(files: Sequence[PythonFile]) -> Reading:
    reading = Reading()
    for file in files:
        documents, malformed = read_python_file(file)
        reading.documents += documents
        reading.malformed += malformed
    return reading


def _read_files(files: Sequence[InputFile], config: CorpusConfig) -> Reading:
    (file,) = files
    return read_file(file, config)


def _mapped(
    function: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    size: int,
    what: str,
    unit: str,
    log: EventLog,
    processes: Pool,
) -> Iterable[Result]:
    """`function` of chunks of `size` items, in order, with progress. Chunks do not depend on the workers."""
    chunks = [items[begin : begin + size] for begin in range(0, len(items), size)]
    told = time.monotonic()
    for number, result in enumerate(ordered_map(processes, function, chunks), 1):
        yield result
        if time.monotonic() - told > 0.3 or number == len(chunks):
            told = time.monotonic()
            log.progress(what, min(number * size, len(items)), len(items), unit)


def _copying(samples: Sequence[Sample]) -> dict[str, Any]:
    (sample,) = samples
    return copying(sample)
