"""The corpus stage: read, clean, reduce to prose, deduplicate, split, take out leaks, write, account."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tutelage.corpus.card import EXAMPLES, Removal, Step, make_card, make_step, render_card
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.dedup import by_preference, exact_clusters, near_clusters
from tutelage.corpus.document import Document, count_bytes, write_documents
from tutelage.corpus.hub import hub_identity, read_hub
from tutelage.corpus.measures import Sample, copying, diversity, take_sample
from tutelage.corpus.parallel import ordered_map, pool
from tutelage.corpus.prose import RULES, Prose, reduce_to_prose
from tutelage.corpus.python_docs import PythonFile, python_files, read_python_file
from tutelage.corpus.readers import input_files, other_files, read_file
from tutelage.corpus.rows import InputFile, Reading
from tutelage.corpus.split import hold_one_out, leaked, split
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.files import write_atomic, write_json
from tutelage.store.hashing import sha256_files

_FILES_A_CHUNK = 32
_DOCUMENTS_A_CHUNK = 1000
Pool = ProcessPoolExecutor | None
Item = TypeVar("Item")
Result = TypeVar("Result")
_FEW_HELDOUT = 10
_LITTLE_PROSE = 0.25


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
        _tell(reading, config, log)
        documents = _without_empty(reading, steps, config)
        reading.documents = []  # every step frees the texts of the one before
        if config.max_documents:
            documents = _limit(documents, config.max_documents, steps)
        reached("raw", documents)
        lap("read")

        if config.prose:
            documents = _to_prose(documents, config, steps, log, processes)
            reached("prose", documents)
        else:
            documents = _without_short(documents, config.min_words, steps)
        _refuse_nothing(documents, steps)
        lap("prose")

        log.progress("duplicates and leaks", 0, 3, "steps")
        documents = _without_duplicates(documents, "exact", exact_clusters, steps)
        reached("exact-deduplicated", documents)
        log.progress("duplicates and leaks", 1, 3, "steps")
        near = partial(near_clusters, threshold=config.near_duplicate_threshold)
        documents = _without_duplicates(documents, "near", near, steps)
        reached("near-deduplicated", documents)
        lap("duplicates")

        log.progress("duplicates and leaks", 2, 3, "steps")
        train, heldout = _split(documents, config, seed, steps, log)
        log.progress("duplicates and leaks", 3, 3, "steps")
        lap("split")

        reached("selected", train + heldout)
        selection = list(_mapped(_copying, levels, 1, "measure selection", "levels", log, processes))
        lap("measures")

    source = config.source if config.source == "python" or config.source.startswith("hf:") else ""
    card = make_card(
        source or Path(config.source).name, seed, train, heldout, steps, diversity(train), selection,
        reading, files,
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
        read = partial(_read_files, text_field=config.text_field, label_field=config.label_field, lines=config.lines)
        parts = _mapped(read, files, 1, "read", "files", log, processes)
    whole = Reading()
    for part in parts:
        whole.add(part)
    for suffix, number in other_files(config.source).items() if config.source != "python" else ():
        whole.skip(f"files of unknown kind ({suffix})", number)
    return whole, count


def _read_python(files: Sequence[PythonFile]) -> Reading:
    reading = Reading()
    for file in files:
        documents, malformed = read_python_file(file)
        reading.documents += documents
        reading.malformed += malformed
    return reading


def _read_files(files: Sequence[InputFile], text_field: str, label_field: str, lines: str) -> Reading:
    (file,) = files
    return read_file(file, text_field, label_field, lines)


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


def _tell(reading: Reading, config: CorpusConfig, log: EventLog) -> None:
    """Say what was not read, and what was read otherwise than as UTF-8."""
    for place in reading.malformed[:10]:
        where = f"{place.file}:{place.line}" if place.line else place.file
        log.warn(f"skipped {where}: {place.why}")
    if len(reading.malformed) > 10:
        log.warn(f"skipped {len(reading.malformed):,} places in all; the data card lists them")
    if reading.decoded:
        shown = "; ".join(f"{file} {remark}" for file, remark in reading.decoded[:5])
        more = f"; and {len(reading.decoded) - 5:,} more" if len(reading.decoded) > 5 else ""
        log.note(f"not plain UTF-8: {shown}{more}")
    if reading.skipped:
        log.note("skipped " + ", ".join(f"{count:,} {what}" for what, count in reading.skipped.items()))
    if reading.ignored:
        named = ", ".join(f"{key} ({count:,})" for key, count in sorted(reading.ignored.items())[:20])
        log.note(f"fields of rows that are not used: {named}")


def _without_empty(reading: Reading, steps: list[Step], config: CorpusConfig) -> list[Document]:
    if not reading.documents and reading.malformed:
        place = reading.malformed[0]
        where = f"{place.file}:{place.line}" if place.line else place.file
        raise InputError(f"{config.source} holds no readable text; {where}: {place.why}")
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
    documents: list[Document], config: CorpusConfig, steps: list[Step], log: EventLog, processes: Pool
) -> list[Document]:
    code = [document for document in documents if document.kind == "code"]
    gone = [Removal(document, "source code") for document in code]
    if code:
        _judge_code(code, documents, log)
    texts = [document for document in documents if document.kind != "code"]
    kept = []
    total = Prose("")
    shown: dict[str, list[tuple[str, str]]] = {}
    parts = _mapped(_reduce, texts, _DOCUMENTS_A_CHUNK, "prose", "documents", log, processes)
    for document, prose in zip(texts, (prose for part in parts for prose in part), strict=True):
        total.pieces.update(prose.pieces)
        total.bytes.update(prose.bytes)
        for rule, piece in prose.examples.items():
            shown[rule] = sorted([*shown.get(rule, []), (document.id, piece)])[:EXAMPLES]
        words = len(prose.text.split())
        if words >= config.min_words:
            kept.append(document.with_text(prose.text))
        else:
            gone.append(Removal(document, "too short" if words else _main_rule(prose)))
    what = f"Only sentences of prose stay, by the rules below; at least {config.min_words} words a document."
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
    if kept and total.bytes["not_english"] > 0.3 * step.bytes_in:
        log.warn("much of the source does not read as English prose; set corpus.prose=false to keep it as it is")
    elif kept and step.bytes_out < _LITTLE_PROSE * step.bytes_in and config.source != "python":
        most = max(total.bytes, key=lambda rule: (total.bytes[rule], rule), default="source code")
        log.warn(
            f"reduction to prose left {step.bytes_out / step.bytes_in:.0%} of the text (most went as {most!r}); "
            "if it is code, verse or lists, set corpus.prose=false to keep it as it is"
        )
    return kept


def _judge_code(code: list[Document], documents: list[Document], log: EventLog) -> None:
    """Warn of source code among prose; refuse a corpus that is mostly code, which prose would take away."""
    share = count_bytes(code) / max(count_bytes(documents), 1)
    said = f"{len(code):,} of {len(documents):,} documents ({share:.0%} of the bytes) are source code"
    if share > 0.5:
        raise InputError(f"{said}, and corpus.prose=true removes code", hint="set corpus.prose=false to train on code")
    log.warn(f"{said} and are removed, because corpus.prose is true; set corpus.prose=false to keep them")


def _reduce(documents: Sequence[Document]) -> list[Prose]:
    return [_reduce_one(document) for document in documents]


def _reduce_one(document: Document) -> Prose:
    if document.kind != "lines":
        return reduce_to_prose(document.text)
    prose = reduce_to_prose(document.text.replace("\n", "\n\n"))  # each line is judged by itself
    prose.text = prose.text.replace("\n\n", "\n")
    return prose


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


def _split(
    documents: list[Document], config: CorpusConfig, seed: int, steps: list[Step], log: EventLog
) -> tuple[list[Document], list[Document]]:
    """(train, held-out), neither empty, and without what stands on both sides."""
    if len(documents) < 2:
        raise InputError(
            f"one document is left of {steps[0].documents_in:,}; a corpus needs two: one to train on, one to hold out",
            hint="give more text; a long text is cut at blank lines, or at sentences where there are none",
        )
    train, heldout = split(documents, config.heldout, seed)
    shares = leaked(train, heldout)
    kept = [document for document, share in zip(heldout, shares, strict=True) if share <= config.max_overlap]
    gone = [
        Removal(document, "stands in training text")
        for document, share in zip(heldout, shares, strict=True)
        if share > config.max_overlap
    ]
    if not kept:  # all of the held-out side is training text: it goes back, and one that is not is looked for
        index, share = hold_one_out(documents, seed, config.max_overlap)
        train, kept, gone = documents[:index] + documents[index + 1 :], [documents[index]], []
        said = f"the {len(heldout):,} held-out documents chosen first stand in training text; one other is held out"
        if share > config.max_overlap:
            said += f", of which {share:.0%} stands in training text too: the corpus repeats itself everywhere"
            log.warn(f"{said}. Figures on held-out text will measure memory")
        else:
            log.warn(said)
    what = (
        f"Held-out documents go if more than {config.max_overlap:.0%} of them (word 8-grams, or words in whole "
        "sentences) stands in training ones: what is copied measures memory, not learning."
    )
    steps.append(make_step("leaks", what, documents, train + kept, gone))
    if len(kept) < _FEW_HELDOUT:
        log.note(
            f"{len(kept):,} of {len(train) + len(kept):,} documents held out: figures measured on so few are rough; "
            "`heldout` sets the share"
        )
    return train, kept


def _copying(samples: Sequence[Sample]) -> dict[str, Any]:
    (sample,) = samples
    return copying(sample)
