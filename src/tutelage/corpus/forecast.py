"""How long the corpus takes and what it will hold, from the sizes of the source's files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

from tutelage.corpus.config import CorpusConfig
from tutelage.store.errors import TutelageError
from tutelage.store.stage import Facts, Forecast, Machine

# Seconds of one CPU, at a `slowness` of 1. MB are 10^6 bytes. Reading, prose and measures are shared by all CPUs.
READ_SECONDS = {"python": 0.17, "own": 0.08}  # for each MB of source
PROSE_SECONDS = 0.5  # for each MB of text
MEASURE_SECONDS = 1.8  # for each MB of text: how much is copied at each level of selection
MEASURED_LEVELS = 5  # of selection: so many CPUs measure at once, no more
SELECT_SECONDS = 0.4  # for each MB of text, on one CPU: duplicates, split, leaks
TEXT_SHARE = {"python": 0.11, ".html": 0.3, ".htm": 0.3}  # text in a file's bytes
EXPANSION = {".gz": 3.0, ".zst": 3.5, ".parquet": 2.5}
PROSE_SHARE = {"python": 0.62, "own": 0.8}  # of the text that is left when only prose stays
DOCUMENT_BYTES = {"python": 208.0, "own": 1200.0}  # of a document, where nothing tells
DESCRIBED = 0.8  # documents of `python` that describe a function with its signature
PACKAGES = 12  # labels of `python`
MEMORY = 16.0  # bytes for each byte of text


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
    seconds = 1.0 + text / 1e6 * SELECT_SECONDS + source / 1e6 * READ_SECONDS[kind] / cpus
    if config.prose:
        seconds += text / 1e6 * PROSE_SECONDS / cpus
    if config.measure_selection:
        seconds += text / 1e6 * MEASURE_SECONDS / min(cpus, MEASURED_LEVELS)
    facts = figures(
        {
            "bytes": kept,
            "documents": documents,
            "train_documents": documents * (1 - config.heldout),
            "heldout_documents": documents * config.heldout,
            "labels": PACKAGES if kind == "python" else 0,
            "described": documents * DESCRIBED if kind == "python" else 0,
        }
    )
    memory = machine.process_memory() + MEMORY * text
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


def _sizes(config: CorpusConfig) -> tuple[float, float, float]:
    """(bytes of the files, of the text in them, of a document); zeros where it cannot be told."""
    if config.source.startswith("hf:"):
        return 0.0, 0.0, 1.0
    if config.source == "python":
        size = _python_bytes(config.packages, config.exclude_tests)
        return size, size * TEXT_SHARE["python"], DOCUMENT_BYTES["python"]
    from tutelage.corpus.sources import input_files

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
        text += held
        documents += max(1.0, held / (_line_bytes(file.path) if name.endswith(".jsonl") else DOCUMENT_BYTES["own"]))
    return size, text, text / max(1.0, documents)


@cache
def _python_bytes(packages: str, exclude_tests: bool) -> float:
    """Of the source files of this Python, which stay as they are while a process runs."""
    from tutelage.corpus.python_docs import python_files

    return float(sum(file.path.stat().st_size for file in python_files(packages, exclude_tests)))


def _line_bytes(path: Any) -> float:
    """Mean length of a line, from the first 256 kB."""
    with path.open("rb") as file:
        begin = file.read(1 << 18)
    return len(begin) / max(1, begin.count(b"\n"))
