"""The corpus stage: read, clean, reduce to prose, deduplicate, split, take out leaks, write, account."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tutelage.corpus.card import EXAMPLES, Removal, Step, make_card, make_step, render_card
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.dedup import by_preference, exact_clusters, near_clusters
from tutelage.corpus.document import Document, Malformed, write_documents
from tutelage.corpus.measures import copying, diversity
from tutelage.corpus.parallel import ordered_map, pool
from tutelage.corpus.prose import RULES, Prose, reduce_to_prose
from tutelage.corpus.python_docs import PythonFile, python_files, read_python_file
from tutelage.corpus.readers import InputFile, Reading, hub_identity, input_files, read_file, read_hub
from tutelage.corpus.split import leaked, split
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.files import write_atomic, write_json
from tutelage.store.hashing import sha256_files

VERSION = 1
_FILES_A_CHUNK = 32
_DOCUMENTS_A_CHUNK = 1000
Pool = ProcessPoolExecutor | None
Item = TypeVar("Item")
Result = TypeVar("Result")


def build_corpus(config: CorpusConfig, out: Path, log: EventLog, seed: int, workers: int = 0) -> dict[str, Any]:
    """Fill `out` with train.parquet, heldout.parquet, card.json and card.md; returns the main figures.

    The files do not depend on `workers` (0: one per processor). Raises ConfigError for a source that is not
    there, InputError for one that holds no usable text.
    """
    begin = time.perf_counter()
    timing: dict[str, float] = {}

    def lap(name: str) -> None:
        timing[name] = round(time.perf_counter() - begin - sum(timing.values()), 3)

    steps: list[Step] = []
    levels: list[tuple[str, list[Document]]] = []
    with pool(workers) as processes:
        reading, files = _read(config, log, processes)
        if reading.malformed:
            _tell(reading.malformed, log)
        documents = _without_empty(reading, steps, config)
        if config.max_documents:
            documents = _limit(documents, config.max_documents, steps)
        levels.append(("raw", documents))
        lap("read")

        if config.prose:
            documents = _to_prose(documents, config.min_words, steps, log, processes)
            levels.append(("prose", documents))
        else:
            documents = _without_short(documents, config.min_words, steps)
        _refuse_nothing(documents, steps)
        lap("prose")

        log.progress("duplicates and leaks", 0, 3, "steps")
        documents = _without_duplicates(documents, "exact", exact_clusters, steps)
        levels.append(("exact-deduplicated", documents))
        log.progress("duplicates and leaks", 1, 3, "steps")
        near = partial(near_clusters, threshold=config.near_duplicate_threshold)
        documents = _without_duplicates(documents, "near", near, steps)
        levels.append(("near-deduplicated", documents))
        lap("duplicates")

        log.progress("duplicates and leaks", 2, 3, "steps")
        train, heldout = split(documents, config.heldout, seed)
        heldout = _without_leaks(train, heldout, documents, steps, config)
        log.progress("duplicates and leaks", 3, 3, "steps")
        if not heldout:
            log.warn("no document is held out: the corpus is too small, or repeats itself too much")
        lap("split")

        selection = _measure(levels, train + heldout, config, seed, log, processes)
        lap("measures")

    source = config.source if config.source == "python" or config.source.startswith("hf:") else ""
    card = make_card(
        source or Path(config.source).name, seed, train, heldout, steps, diversity(train), selection,
        reading.malformed, reading.ignored, files,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    write_documents(out / "train.parquet", train)
    write_documents(out / "heldout.parquet", heldout)
    write_json(out / "card.json", card)
    write_atomic(out / "card.md", render_card(card))
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
    return sha256_files([(file.name, file.path) for file in input_files(config.source)])


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
        read = partial(_read_files, text_field=config.text_field, label_field=config.label_field)
        parts = _mapped(read, files, 1, "read", "files", log, processes)
    whole = Reading()
    ignored: Counter[str] = Counter()
    for part in parts:
        whole.documents += part.documents
        whole.malformed += part.malformed
        ignored.update(part.ignored)
    whole.ignored = dict(ignored)
    return whole, count


def _read_python(files: Sequence[PythonFile]) -> Reading:
    reading = Reading()
    for file in files:
        documents, malformed = read_python_file(file)
        reading.documents += documents
        reading.malformed += malformed
    return reading


def _read_files(files: Sequence[InputFile], text_field: str, label_field: str) -> Reading:
    (file,) = files
    return read_file(file, text_field, label_field)


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


def _tell(malformed: list[Malformed], log: EventLog) -> None:
    for place in malformed[:10]:
        where = f"{place.file}:{place.line}" if place.line else place.file
        log.warn(f"passed over {where}: {place.why}")
    if len(malformed) > 10:
        log.warn(f"passed over {len(malformed):,} places in all; the data card lists them")


def _without_empty(reading: Reading, steps: list[Step], config: CorpusConfig) -> list[Document]:
    if not reading.documents and reading.malformed:
        place = reading.malformed[0]
        where = f"{place.file}:{place.line}" if place.line else place.file
        raise InputError(f"{config.source} holds no readable text; {where} is {place.why}")
    kept = [document for document in reading.documents if document.text]
    gone = [Removal(document, "empty") for document in reading.documents if not document.text]
    if not kept:
        raise InputError(f"{config.source} holds no text: the corpus is empty")
    what = "Documents read and cleaned: Unicode NFC, no control characters, plain newlines."
    steps.append(make_step("read", what, reading.documents, kept, gone))
    return kept


def _limit(documents: list[Document], most: int, steps: list[Step]) -> list[Document]:
    order = sorted(range(len(documents)), key=lambda index: (documents[index].id, index))
    chosen = set(order[:most])
    kept = [document for index, document in enumerate(documents) if index in chosen]
    gone = [Removal(document, "over the limit") for i, document in enumerate(documents) if i not in chosen]
    steps.append(make_step("limit", f"At most {most:,} documents, chosen by hash.", documents, kept, gone))
    return kept


def _to_prose(
    documents: list[Document], min_words: int, steps: list[Step], log: EventLog, processes: Pool
) -> list[Document]:
    kept, gone = [], []
    total = Prose("")
    shown: dict[str, list[tuple[str, str]]] = {}
    parts = _mapped(_reduce, documents, _DOCUMENTS_A_CHUNK, "prose", "documents", log, processes)
    for document, prose in zip(documents, (prose for part in parts for prose in part), strict=True):
        total.pieces.update(prose.pieces)
        total.bytes.update(prose.bytes)
        for rule, piece in prose.examples.items():
            shown[rule] = sorted([*shown.get(rule, []), (document.id, piece)])[:EXAMPLES]
        words = len(prose.text.split())
        if words >= min_words:
            kept.append(document.with_text(prose.text))
        else:
            gone.append(Removal(document, "too short" if words else _main_rule(prose)))
    what = f"Only sentences of prose stay, by the rules below; at least {min_words} words a document."
    step = make_step("prose", what, documents, kept, gone)
    step.pieces = {
        rule: {
            "what": RULES[rule],
            "count": total.pieces[rule],
            "bytes": total.bytes[rule],
            "examples": [piece for _, piece in shown[rule]],
        }
        for rule in RULES
        if total.pieces[rule]
    }
    steps.append(step)
    if total.bytes["not_english"] > 0.3 * step.bytes_in:
        log.warn("much of the source does not read as English prose; set corpus.prose to false to keep it as it is")
    return kept


def _reduce(documents: Sequence[Document]) -> list[Prose]:
    return [reduce_to_prose(document.text) for document in documents]


def _main_rule(prose: Prose) -> str:
    """The rule that took most of a text of which nothing is left."""
    return max(prose.bytes, key=lambda rule: (prose.bytes[rule], rule), default="empty")


def _without_short(documents: list[Document], min_words: int, steps: list[Step]) -> list[Document]:
    kept = [document for document in documents if len(document.text.split()) >= min_words]
    gone = [Removal(one, "too short") for one in documents if len(one.text.split()) < min_words]
    steps.append(make_step("length", f"At least {min_words} words a document.", documents, kept, gone))
    return kept


def _refuse_nothing(documents: list[Document], steps: list[Step]) -> None:
    if not documents:
        last = steps[-1]
        most = max(last.removed, key=lambda reason: (last.removed[reason], reason))
        raise InputError(
            f"nothing is left of {last.documents_in:,} documents after the step {last.name!r}; most went as {most!r}",
            hint="is it English prose? else set corpus.prose to false; see also corpus.min_words",
        )


def _without_duplicates(
    documents: list[Document], kind: str, clusters_of: Callable[[list[str]], Any], steps: list[Step]
) -> list[Document]:
    """Keep the preferred document of each cluster. The order of input files plays no part."""
    ordered = by_preference(documents)
    clusters = clusters_of([document.text for document in ordered]).tolist()
    kept = [document for index, document in enumerate(ordered) if clusters[index] == index]
    gone = [
        Removal(document, f"{kind} duplicate", ordered[clusters[index]])
        for index, document in enumerate(ordered)
        if clusters[index] != index
    ]
    what = {
        "exact": "Of documents with the same words in the same order one stays.",
        "near": "Of documents whose sets of word n-grams are alike one stays.",
    }[kind]
    steps.append(make_step(f"{kind} duplicates", what, documents, kept, gone))
    return kept


def _without_leaks(
    train: list[Document], heldout: list[Document], documents: list[Document], steps: list[Step], config: CorpusConfig
) -> list[Document]:
    shares = leaked(train, heldout)
    kept = [document for document, share in zip(heldout, shares, strict=True) if share <= config.max_overlap]
    gone = [
        Removal(document, "stands in training text")
        for document, share in zip(heldout, shares, strict=True)
        if share > config.max_overlap
    ]
    what = (
        f"Held-out documents go if more than {config.max_overlap:.0%} of them (word 8-grams, or words in whole "
        "sentences) stands in training ones: what is copied measures memory, not learning."
    )
    steps.append(make_step("leaks", what, documents, train + kept, gone))
    return kept


def _measure(
    levels: list[tuple[str, list[Document]]],
    selected: list[Document],
    config: CorpusConfig,
    seed: int,
    log: EventLog,
    processes: Pool,
) -> list[dict[str, Any]]:
    """How much of the held-out side is copying at each level of selection; see `measures.copying`."""
    if not config.measure_selection:
        return []
    jobs = [*levels, ("selected", selected)]
    measure = partial(_copying, share=config.heldout, seed=seed)
    return list(_mapped(measure, jobs, 1, "measure selection", "levels", log, processes))


def _copying(jobs: Sequence[tuple[str, list[Document]]], share: float, seed: int) -> dict[str, Any]:
    ((level, documents),) = jobs
    return copying(level, documents, share, seed)
