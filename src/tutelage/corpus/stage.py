"""The corpus stage: read, clean, reduce to prose, deduplicate, split, take out leaks, write, account.

Documents lie on disk between the steps (see `shelf.py`), beside the result; in memory are a few bytes of each.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.corpus.benchmark_items import markdown_of_benchmarks
from tutelage.corpus.card import Side, Step, make_card
from tutelage.corpus.card_text import render_card
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.croissant import croissant
from tutelage.corpus.finished import clear_unfinished
from tutelage.corpus.hub import hub_identity
from tutelage.corpus.look import REMOVED
from tutelage.corpus.measures import Sample, copying, diversity, take_sample
from tutelage.corpus.parallel import Pool, pool
from tutelage.corpus.pieces import without_duplicate_pieces
from tutelage.corpus.private import in_languages, without_blocked, without_pii
from tutelage.corpus.published.step import by_published_rules
from tutelage.corpus.python_docs import package_versions, python_files
from tutelage.corpus.reading import read_source
from tutelage.corpus.selection.card import markdown_of_measures
from tutelage.corpus.selection.variety import variety_of
from tutelage.corpus.shelf import I64, Shelf
from tutelage.corpus.sources import files_identity, input_files
from tutelage.corpus.steps import (
    account_of_reading,
    limited,
    refuse_nothing,
    sides,
    to_prose,
    without_benchmark_items,
    without_exact_duplicates,
    without_near_duplicates,
    without_shared_paragraphs,
    without_short,
)
from tutelage.corpus.tell import tell_losses, tell_reading
from tutelage.corpus.workshop import Workshop
from tutelage.corpus.write import write_side
from tutelage.store.errors import ConfigError, Interrupted, TutelageError
from tutelage.store.events import EventLog
from tutelage.store.files import write_atomic, write_json
from tutelage.store.hashing import sha256_files
from tutelage.store.jsonl import write_json_lines

CONTAMINATED = "contaminated.jsonl"


def build_corpus(
    config: CorpusConfig,
    out: Path,
    log: EventLog,
    seed: int,
    workers: int = 0,
    work: Path | None = None,
    items: Path | None = None,
) -> dict[str, Any]:
    """Fill `out` with train.parquet, heldout.parquet, card.json, card.md, croissant.json and removed.jsonl; returns the
    main figures.

    `seed` is the data seed: the split depends on it, and nothing before the split does. The files do not depend on
    `workers` (0: one per processor; Daft has its own number). In `work` the documents lie while it runs, and what a
    killed run has finished there is not done again: its name must stand for config, source and seed. By default it is a
    folder beside `out`, empty at first. `items`: the items of the benchmarks that `config.decontaminate` names
    (`write_items`).

    Raises ConfigError for a source that is not there, InputError for one that holds no usable text, too few documents,
    or mostly source code where prose is asked for.
    """
    if config.decontaminate and items is None:
        raise ConfigError("corpus.decontaminate needs the items of its tasks", hint="`tutelage corpus` fetches them")
    begin = time.perf_counter()
    timing: dict[str, float] = {}

    def lap(name: str) -> None:
        timing[name] = round(time.perf_counter() - begin - sum(timing.values()), 3)

    steps: list[Step] = []
    levels: list[Sample] = []

    def reached(level: str, documents: Shelf) -> None:
        if config.measure_selection:
            levels.append(take_sample(level, documents, config.heldout))

    with _pool(config, workers) as processes, _folder(work, out, log) as folder:
        shop = Workshop(folder, seed, log, processes)
        reading, empty, documents, files = read_source(config, shop)
        tell_reading(reading, config, log)
        account_of_reading(documents, reading, empty, steps, config.source)
        if config.max_documents:
            documents = limited(documents, config.max_documents, steps)
        reached("raw", documents)
        lap("read")

        if config.languages:
            documents = in_languages(documents, config, steps, shop)
            refuse_nothing(documents, steps)
        if config.rules:
            documents = by_published_rules(documents, config, steps, shop)
            refuse_nothing(documents, steps)
        if config.prose:
            documents = to_prose(documents, config, steps, shop)
            reached("prose", documents)
        else:
            documents = without_short(documents, config.min_words, steps, shop)
        refuse_nothing(documents, steps)
        if config.blocklist:
            documents = without_blocked(documents, config, steps, shop)
            refuse_nothing(documents, steps)
        if config.pii != "keep":
            documents = without_pii(documents, config, steps, shop)
            refuse_nothing(documents, steps)
        lap("prose")

        log.progress("duplicates and leaks", 0, 4, "steps")
        documents = without_exact_duplicates(documents, steps, shop)
        reached("exact-deduplicated", documents)
        log.progress("duplicates and leaks", 1, 4, "steps")
        if config.drop_banners:
            documents = without_shared_paragraphs(documents, config.min_words, steps, shop)
        if config.duplicate_pieces != "keep":
            documents = without_duplicate_pieces(documents, config, steps, shop)
            refuse_nothing(documents, steps)
        log.progress("duplicates and leaks", 2, 4, "steps")
        documents = without_near_duplicates(documents, config, steps, shop)
        reached("near-deduplicated", documents)
        lap("duplicates")

        contamination: dict[str, Any] = {}
        found: list[dict[str, Any]] = []
        if config.decontaminate and items is not None:
            documents, contamination, found = without_benchmark_items(documents, items, config, steps, shop)
            refuse_nothing(documents, steps)
            lap("benchmarks")

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
    if contamination:
        card["benchmarks"] = contamination
        write_json_lines(out / CONTAMINATED, found)
    if config.source == "python":
        card["packages"] = package_versions(config.packages)
    write_json(out / "card.json", card)
    write_json(out / "croissant.json", croissant(card, out))
    write_json_lines(out / REMOVED, ({"step": step.name, **one} for step in steps for one in step.shown))
    write_atomic(out / "card.md", render_card(card) + markdown_of_benchmarks(card) + markdown_of_measures(card))
    lap("write")
    return {
        "documents": card["documents"],
        "bytes": card["bytes"],
        "train_documents": len(train),
        "heldout_documents": len(heldout),
        "documents_read": steps[0].documents_in,
        "malformed": reading.unread,
        "labels": len(card["labels"]),
        "described": card["described"],
        "timing": timing,
    }


def _pool(config: CorpusConfig, workers: int) -> AbstractContextManager[Pool | None]:
    if config.engine == "processes":
        return pool(workers)
    from tutelage.corpus.daft_pool import daft_pool

    return nullcontext(daft_pool(config.engine))


def source_identity(config: CorpusConfig) -> str:
    """Hash of the content of the input files and their relative names; where they lie does not matter."""
    if config.source.startswith("hf:"):
        return hub_identity(config.source)
    if config.source == "python":
        found = python_files(config.packages, config.exclude_tests)
        return sha256_files([(f"{file.package}:{file.name}", file.path) for file in found])
    return files_identity(input_files(config.source))


@contextmanager
def _folder(work: Path | None, out: Path, log: EventLog) -> Iterator[Path]:
    """A folder for documents between the steps. It is gone afterwards, but stays where the run is broken off."""
    folder = work or out.with_name(f"{out.name}.parts")
    if work is None:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    if done := clear_unfinished(folder):
        log.note(f"going on from a preparation that was broken off: {done:,} parts are finished")
    try:
        yield folder
    except Interrupted:
        raise
    except TutelageError:  # of this config or source, which the next run will not have
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _union(train: Shelf, heldout: Shelf) -> I64:
    return np.concatenate([train.rows, heldout.rows])
