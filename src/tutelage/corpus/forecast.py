"""How long the corpus takes and what it will hold, from the sizes of the source's files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tutelage.corpus.boundaries import documents_of
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.sample import ppmd_bits
from tutelage.corpus.sources import PLAIN, TABLES, input_files, is_dump
from tutelage.store.errors import TutelageError
from tutelage.store.stage import Facts, Forecast, Machine

# Seconds of one CPU, at a `slowness` of 1. MB are 10^6 bytes. Reading, prose and measures are shared by all CPUs.
START_SECONDS = 0.5
READ_SECONDS = {"python": 0.17, "own": 0.22}  # for each MB of source
PROSE_SECONDS = 0.28  # for each MB of text
MEASURE_SECONDS = 0.18  # for each MB of text, all levels together: how much is copied at each level of selection
JUDGE_SECONDS = 1.2  # for each MB of text, on one CPU: selection by measure ...
JUDGE_START = 5.0  # ... and what it learns from samples
MEASURED_BYTES = 6.3e6  # of a level at most
MEASURED_LEVELS = 5  # of selection: so many CPUs measure at once, no more
SELECT_SECONDS = 0.2  # for each MB of text, on one CPU: duplicates, split, leaks
DOCUMENT_SECONDS = 20e-6  # for each document, on one CPU
TEXT_SHARE = {
    "python": 0.11,
    ".html": 0.3,
    ".htm": 0.3,
    ".pdf": 0.1,
    ".docx": 0.2,
    ".odt": 0.2,
    ".epub": 1.0,
}  # of a file's bytes
WIKI_SHARE = 0.45  # of a dump that is unpacked; the rest is markup
EXPANSION = {".gz": 3.0, ".zst": 3.5, ".bz2": 4.0, ".xz": 4.5, ".parquet": 2.5}
PROSE_SHARE = {"python": 0.62, "own": 0.8}  # of the text that is left when only prose stays
DOCUMENT_BYTES = {"python": 208.0, "own": 1200.0}  # of a document, where nothing tells
DESCRIBED = 0.8  # documents of `python` that describe a function with its signature
_LOOKED_AT = 1 << 18  # bytes of a file from which the size of its documents is told
PACKAGES = 12  # labels of `python`
MEMORY = {"python": 0.1e9, "own": 0.04e9}  # bytes, whatever the text: words that are remembered, batches, samples
DOCUMENT_MEMORY = 120.0  # bytes of a document
WHOLE_MEMORY = 3.0  # bytes for each byte of the largest file that is read as a whole
BY_ROW = (".jsonl", ".ndjson", ".parquet")


def forecast(config: CorpusConfig, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    """Seconds and figures of a corpus that is still to be made; `seconds` None for a data set on a hub."""
    kind = "python" if config.source == "python" else "own"
    source, text, document = _sizes(config)
    if not text:
        return Forecast()
    kept = text * (PROSE_SHARE[kind] if config.prose else 0.95)
    documents = kept / document
    if config.max_documents and documents > config.max_documents:
        kept, documents = kept * config.max_documents / documents, config.max_documents
    cpus = len(os.sched_getaffinity(0))
    read = source if kind == "python" else max(source, text)
    seconds = START_SECONDS + text / 1e6 * SELECT_SECONDS + read / 1e6 * READ_SECONDS[kind] / cpus
    if kind == "own":
        seconds += text / document * DOCUMENT_SECONDS
    if config.prose:
        seconds += text / 1e6 * PROSE_SECONDS / cpus
    if config.select:
        seconds += JUDGE_START + kept / 1e6 * JUDGE_SECONDS
        kept = min(kept * config.select.keep, 4.0 * config.select.tokens or kept)
        documents = kept / document
    if config.measure_selection:
        seconds += min(text, MEASURED_BYTES) / 1e6 * MEASURE_SECONDS / min(cpus, MEASURED_LEVELS)
    facts = figures(
        {
            "bytes": kept,
            "documents": documents,
            "train_documents": documents * (1 - config.heldout),
            "heldout_documents": max(1.0, documents * config.heldout),  # one is always held out
            "labels": PACKAGES if kind == "python" else 0,
            "described": documents * DESCRIBED if kind == "python" else 0,
        }
    )
    if bits := ppmd_bits(config):
        facts = {**facts, "ppmd_bits": bits, "text": kind if kind == "python" else ""}
    memory = (
        machine.process_memory() + MEMORY[kind] + DOCUMENT_MEMORY * text / document + WHOLE_MEMORY * _largest(config)
    )
    return Forecast.about(seconds * machine.slowness(), memory=memory, facts={"source_bytes": source, **facts})


def figures(metrics: Mapping[str, Any]) -> Facts:
    """What is known of a corpus: bytes and documents of both sides, mean size of a document, labels."""
    documents, held = max(1.0, metrics["documents"]), metrics["heldout_documents"]
    each = metrics["bytes"] / documents
    return {
        "bytes": metrics["bytes"],
        "train_bytes": each * metrics["train_documents"],
        "heldout_bytes": each * held,
        "train_documents": round(metrics["train_documents"]),
        "heldout_documents": round(held),
        "document_bytes": each,
        "labels": metrics.get("labels", 0),
        "described": round(metrics.get("described", 0)),
    }


def _largest(config: CorpusConfig) -> float:
    """Bytes of the largest file that is in memory as a whole while it is read."""
    if config.source == "python" or config.source.startswith("hf:"):
        return 0.0
    found = [(file.name.lower(), file.path.stat().st_size) for file in input_files(config.source)]
    return max(
        (size for name, size in found if not any(kind in name for kind in BY_ROW) and not is_dump(name)), default=0
    )


def _sizes(config: CorpusConfig) -> tuple[float, float, float]:
    """(bytes of the files, of the text in them, of a document); zeros where it cannot be told."""
    if config.source.startswith("hf:"):
        return 0.0, 0.0, 1.0
    if config.source == "python":
        size = _python_bytes(config.packages, config.exclude_tests)
        return size, size * TEXT_SHARE["python"], DOCUMENT_BYTES["python"]
    size = text = documents = 0.0
    try:
        files = input_files(config.source)
    except TutelageError:  # said with its reason when the corpus is planned
        return 0.0, 0.0, 1.0
    for file in files:
        name, on_disk = file.name.lower(), file.path.stat().st_size
        size += on_disk
        held = on_disk * next((times for ending, times in EXPANSION.items() if name.endswith(ending)), 1.0)
        held *= next((share for ending, share in TEXT_SHARE.items() if name.endswith(ending)), 1.0)
        held *= WIKI_SHARE if is_dump(name) else 1.0
        text += held
        documents += max(1.0, held / _document_bytes(file.path, name, config))
    return size, text, text / max(1.0, documents)


@cache
def _python_bytes(packages: str, exclude_tests: bool) -> float:
    """Of the source files of this Python, which stay as they are while a process runs."""
    from tutelage.corpus.python_docs import python_files

    return float(sum(file.path.stat().st_size for file in python_files(packages, exclude_tests)))


def _document_bytes(path: Path, name: str, config: CorpusConfig) -> float:
    """Mean size of a document of a file, from its first 256 kB where it is text or lines."""
    if not name.endswith((*PLAIN, ".jsonl", ".ndjson", *TABLES)):
        return DOCUMENT_BYTES["own"]
    try:
        with path.open("rb") as file:
            begin = file.read(_LOOKED_AT)
    except OSError:
        return DOCUMENT_BYTES["own"]
    if not name.endswith(PLAIN):
        return max(1.0, len(begin) / max(1, begin.count(b"\n")))
    text = begin.decode("utf-8", "replace")
    _, found = documents_of(text, config.boundary, config.marker)
    if len(found) <= 1 and len(begin) == _LOOKED_AT:
        return 0.8 * config.max_characters or path.stat().st_size
    mean = len(begin) / max(1, len(found))
    return max(1.0, min(mean, 0.8 * config.max_characters) if config.max_characters else mean)
