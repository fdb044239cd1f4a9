"""The steps of selection: each takes documents, gives those that stay, and adds its account to the card."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from tutelage.corpus.boilerplate import without_banners
from tutelage.corpus.card import EXAMPLES, Removal, Step, make_step, shorten
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.dedup import by_preference, exact_clusters, near_duplicates, recall_curve
from tutelage.corpus.document import Document, count_bytes
from tutelage.corpus.prose import RULES, Prose, reduce_to_prose
from tutelage.corpus.rows import Reading
from tutelage.corpus.scripts import count_text_words, is_foreign
from tutelage.corpus.split import clean_split
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog

_FEW_HELDOUT = 10
Mapped = Callable[[Callable[[Sequence[Document]], list[Prose]], Sequence[Document]], Iterable[list[Prose]]]


def without_empty(reading: Reading, steps: list[Step], config: CorpusConfig) -> list[Document]:
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


def limited(documents: list[Document], most: int, steps: list[Step]) -> list[Document]:
    order = sorted(range(len(documents)), key=lambda index: (documents[index].id, index))
    chosen = set(order[:most])
    kept = [document for index, document in enumerate(documents) if index in chosen]
    gone = [Removal(document, "over the limit") for i, document in enumerate(documents) if i not in chosen]
    steps.append(make_step("limit", f"At most {most:,} documents, chosen by hash.", documents, kept, gone))
    return kept


def to_prose(
    documents: list[Document], config: CorpusConfig, steps: list[Step], log: EventLog, mapped: Mapped
) -> list[Document]:
    """English documents reduced to sentences; those in other languages as they are. `mapped` runs the reduction."""
    code = [document for document in documents if document.kind == "code"]
    gone = [Removal(document, "source code") for document in code]
    if code:
        _judge_code(code, documents, log)
    texts = [document for document in documents if document.kind != "code"]
    kept = []
    total = Prose("")
    shown: dict[str, list[tuple[str, str]]] = {}
    reduce = partial(_reduce, without=frozenset(config.skip_rules), english=config.source == "python")
    parts = mapped(reduce, texts)
    foreign = foreign_bytes = 0
    for document, prose in zip(texts, (prose for part in parts for prose in part), strict=True):
        total.pieces.update(prose.pieces)
        total.bytes.update(prose.bytes)
        for rule, piece in prose.examples.items():
            shown[rule] = sorted([*shown.get(rule, []), (document.id, piece)])[:EXAMPLES]
        if prose.foreign:
            foreign, foreign_bytes = foreign + 1, foreign_bytes + len(prose.text.encode("utf-8"))
        words = count_text_words(prose.text)
        if words >= config.min_words:
            kept.append(document.with_text(prose.text))
        else:
            gone.append(Removal(document, "too short" if words else _main_rule(prose)))
    what = f"Only sentences of prose stay, by the rules below; at least {config.min_words} words a document."
    if config.skip_rules:
        what += f" Not applied: {', '.join(config.skip_rules)}."
    if foreign:
        what += f" The rules are for English: {foreign:,} documents in other languages stay as they are."
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
    if foreign:
        share = foreign_bytes / max(1, step.bytes_in)
        log.note(
            f"{foreign:,} of {len(documents):,} documents ({share:.1%} of the text) are not "
            "in English: they stay as they are, because the rules of the prose step are for English"
        )
    return kept


def _judge_code(code: list[Document], documents: list[Document], log: EventLog) -> None:
    """Warn of source code among prose; refuse a corpus that is mostly code, which prose would take away."""
    share = count_bytes(code) / max(count_bytes(documents), 1)
    said = f"{len(code):,} of {len(documents):,} documents ({share:.0%} of the bytes) are source code"
    if share > 0.5:
        raise InputError(f"{said}, and corpus.prose=true removes code", hint="set corpus.prose=false to train on code")
    log.warn(f"{said} and are removed, because corpus.prose is true; set corpus.prose=false to keep them")


def _reduce(documents: Sequence[Document], without: frozenset[str], english: bool) -> list[Prose]:
    return [_reduce_one(document, without, english) for document in documents]


def _reduce_one(document: Document, without: frozenset[str], english: bool) -> Prose:
    if not english and is_foreign(document.text):
        return Prose(document.text, foreign=True)
    if document.kind != "lines":
        return reduce_to_prose(document.text, without)
    prose = reduce_to_prose(document.text.replace("\n", "\n\n"), without)  # each line is judged by itself
    prose.text = prose.text.replace("\n\n", "\n")
    return prose


def _main_rule(prose: Prose) -> str:
    """The rule that took most of a text of which nothing is left."""
    return max(prose.bytes, key=lambda rule: (prose.bytes[rule], rule), default="empty")


def without_short(documents: list[Document], min_words: int, steps: list[Step]) -> list[Document]:
    enough = [count_text_words(document.text) >= min_words for document in documents]
    kept = [document for document, long in zip(documents, enough, strict=True) if long]
    gone = [Removal(document, "too short") for document, long in zip(documents, enough, strict=True) if not long]
    steps.append(make_step("length", f"At least {min_words} words a document.", documents, kept, gone))
    return kept


def refuse_nothing(documents: list[Document], steps: list[Step]) -> None:
    """Raises InputError where a step left nothing: which rule took most, an example, and what to set."""
    if documents:
        return
    last = steps[-1]
    most = max(last.removed, key=lambda reason: (last.removed[reason], reason))
    share = last.removed[most] / last.documents_in
    example = next((one["text"] for one in last.examples if one["reason"] == most), "")
    kept_by = f"corpus.skip_rules=[{most}] or corpus.prose=false" if most in RULES else "a smaller corpus.min_words"
    raise InputError(
        f"nothing is left of {last.documents_in:,} documents after the step {last.name!r}; {share:.0%} went as {most!r}"
        f"{f' ({RULES[most]})' if most in RULES else ''}, for example {shorten(' '.join(example.split()), 80)!r}",
        hint=f"{kept_by} keeps them",
    )


def without_exact_duplicates(documents: list[Document], steps: list[Step]) -> list[Document]:
    order = by_preference(documents)
    clusters = exact_clusters(documents[index].text for index in order)
    what = "Of documents that are the same but for white space one stays."
    return _without_duplicates(documents, "exact", what, order, clusters.tolist(), steps)


def without_near_duplicates(
    documents: list[Document], threshold: float, steps: list[Step], log: EventLog
) -> list[Document]:
    """Also says how likely pairs of which similarity are found, and how many candidates were none."""
    order = by_preference(documents)
    found = near_duplicates([documents[index].text for index in order], threshold)
    curve = ", ".join(f"{chance:.1%} at {similarity:g}" for similarity, chance in recall_curve(threshold).items())
    said = (
        f"{found.compared:,} candidates were compared in full, {found.alike:,} of them are near duplicates, "
        f"{found.compared - found.alike:,} are not and stay; of pairs the search finds, by their Jaccard similarity, "
        f"{curve}"
    )
    if found.compared:
        log.note(f"near duplicates (similarity {threshold:g} and more): {said}")
    what = (
        f"Of documents whose sets of word n-grams have a Jaccard similarity of {threshold:g} or more one stays. {said}."
    )
    return _without_duplicates(documents, "near", what, order, found.kept_for.tolist(), steps)


def _without_duplicates(
    documents: list[Document], kind: str, what: str, order: list[int], clusters: list[int], steps: list[Step]
) -> list[Document]:
    """Keep the preferred document of each cluster, in the order given. The order of input files plays no part."""
    kept_for = {index: order[cluster] for index, cluster in zip(order, clusters, strict=True)}
    kept = [document for index, document in enumerate(documents) if kept_for[index] == index]
    gone = [
        Removal(document, f"{kind} duplicate", documents[kept_for[index]])
        for index, document in enumerate(documents)
        if kept_for[index] != index
    ]
    steps.append(make_step(f"{kind} duplicates", what, documents, kept, gone))
    return kept


def without_shared_paragraphs(documents: list[Document], min_words: int, steps: list[Step]) -> list[Document]:
    """Take out headers, footers and licences: paragraphs that many documents share. No step where there are none."""
    found = without_banners(documents)
    if not found.pieces:
        return documents
    kept = [document for document in found.documents if count_text_words(document.text) >= min_words]
    short = [document for document in found.documents if count_text_words(document.text) < min_words]
    what = "Of paragraphs that at least five documents, and 2 % of them, share, all copies but the first went."
    gone = [Removal(document, "only shared paragraphs") for document in [*found.emptied, *short]]
    step = make_step("shared paragraphs", what, documents, kept, gone)
    most = sorted(found.pieces, key=lambda text: (-found.pieces[text], text))[:EXAMPLES]
    step.pieces = {
        "shared": {
            "what": "paragraphs that many documents share",
            "count": found.pieces.total(),
            "bytes": found.bytes,
            "examples": [shorten(text, 200) for text in most],
        }
    }
    steps.append(step)
    return kept


def sides(
    documents: list[Document], config: CorpusConfig, seed: int, steps: list[Step], log: EventLog
) -> tuple[list[Document], list[Document]]:
    """(train, held-out), neither empty, and without what stands on both sides. Raises InputError; see `clean_split`."""
    if len(documents) < 2:
        removed = {reason: count for step in steps for reason, count in step.removed.items()}
        why = ", ".join(f"{count:,} as {reason}" for reason, count in sorted(removed.items()))
        raise InputError(
            f"one document is left of {steps[0].documents_in:,}; a corpus needs two: one to train on, one to hold out"
            + (f". Taken out were {why}" if why else ""),
            hint="give more text; corpus.boundary and corpus.max_characters set what is a document",
        )
    found = clean_split(documents, config.heldout, seed, config.max_overlap)
    for said in found.said:
        log.warn(said)
    what = (
        f"Held-out documents go if more than {config.max_overlap:.0%} of them (word 8-grams, or words in whole "
        "sentences) stands in training ones: what is copied measures memory, not learning. The pieces of one text lie "
        "on one side."
    )
    gone = [Removal(document, "stands in training text") for document in found.gone]
    steps.append(make_step("leaks", what, documents, found.train + found.heldout, gone))
    held, count = len(found.heldout), len(found.train) + len(found.heldout)
    if held < _FEW_HELDOUT:
        log.note(
            f"{held:,} of {count:,} documents held out: figures measured on so few are rough; `heldout` sets the share"
        )
    return found.train, found.heldout
