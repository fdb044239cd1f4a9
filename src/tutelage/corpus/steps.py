"""The steps of selection: each takes documents, gives those that stay, and adds its account to the card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.corpus.banners import find_banners
from tutelage.corpus.benchmark_items import SHORTEST, account, find_items, read_items
from tutelage.corpus.card import Step, Tally, make_step, shorten, tally_rows
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.dedup import exact_keys, first_of_each
from tutelage.corpus.document import Document
from tutelage.corpus.minhash import Banding, banding, recall_curve
from tutelage.corpus.near import near_duplicates_of, preferred
from tutelage.corpus.prose import RULES, Prose, reduce_to_prose
from tutelage.corpus.rows import Reading
from tutelage.corpus.scripts import count_text_words, is_foreign
from tutelage.corpus.shelf import CODE, I64, Shelf, View
from tutelage.corpus.split import clean_split
from tutelage.corpus.workshop import Workshop
from tutelage.store.errors import InputError

_FEW_HELDOUT = 10


def account_of_reading(documents: Shelf, reading: Reading, empty: Tally, steps: list[Step], source: str) -> None:
    """The account of the documents that were read. Raises InputError if there are none."""
    if not len(documents) and not empty.removed and reading.malformed:
        place = reading.malformed[0]
        where = f"{place.file}:{place.line}" if place.line else place.file
        rows = "it has:" in place.why and "corpus.text_field" not in place.why
        hint = "name the field that holds the text in corpus.text_field" if rows else None
        raise InputError(f"{source} contains no readable text; {where}: {place.why}", hint=hint)
    if not len(documents):
        raise InputError(f"{source} contains no text: the corpus is empty")
    what = "Documents read and cleaned: Unicode NFC, no control characters, plain newlines."
    read = len(documents) + empty.removed.total()
    steps.append(make_step("read", what, documents, documents, empty, read))


def limited(documents: Shelf, most: int, steps: list[Step]) -> Shelf:
    order = np.argsort(documents.facts.ids[documents.rows], kind="stable")
    kept = documents.only(documents.rows[order[:most]])
    tally = tally_rows(documents, "over the limit", documents.rows[order[most:]])
    steps.append(make_step("limit", f"At most {most:,} documents, chosen by hash.", documents, kept, tally))
    return kept


def to_prose(documents: Shelf, config: CorpusConfig, steps: list[Step], shop: Workshop) -> Shelf:
    """English documents reduced to sentences; those in other languages unchanged."""
    _judge_code(documents, shop)
    change = _ToProse(frozenset(config.skip_rules), config.source == "python", config.min_words)
    kept, tally = shop.rewritten(documents, "prose", change)
    what = f"Only sentences of prose are kept, by the rules below; at least {config.min_words} words per document."
    if config.skip_rules:
        what += f" Not applied: {', '.join(config.skip_rules)}."
    foreign = tally.counts["foreign documents"]
    if foreign:
        what += f" The rules are for English: {foreign:,} documents in other languages are unchanged."
    step = make_step("prose", what, documents, kept, tally)
    step.pieces = tally.plain_pieces({rule: RULES[rule] for rule in RULES if tally.pieces[rule]})
    steps.append(step)
    if foreign:
        share = tally.counts["foreign bytes"] / max(1, step.bytes_in)
        shop.log.note(
            f"{foreign:,} of {len(documents):,} documents ({share:.1%} of the text) are not "
            "in English and are unchanged, because the rules of the prose step are for English"
        )
    return kept


def _judge_code(documents: Shelf, shop: Workshop) -> None:
    """Warn of source code among prose; reject a corpus that is mostly code, which the prose step would remove."""
    code = documents.only(documents.rows[(documents.facts.flags[documents.rows] & CODE) != 0])
    if not len(code):
        return
    share = code.size / max(documents.size, 1)
    said = f"{len(code):,} of {len(documents):,} documents ({share:.0%} of the bytes) are source code"
    if share > 0.5:
        raise InputError(f"{said}, and corpus.prose=true removes code", hint="set corpus.prose=false to train on code")
    shop.log.warn(f"{said} and are removed, because corpus.prose is true; set corpus.prose=false to keep them")


@dataclass(frozen=True, slots=True)
class _ToProse:
    """What the prose step does to a document."""

    without: frozenset[str]
    english: bool
    min_words: int

    def __call__(self, document: Document, row: int, tally: Tally) -> Document | None:
        if document.kind == "code":
            tally.remove(document, "source code")
            return None
        prose = reduced(document, self.without, self.english)
        for rule, count in prose.pieces.items():
            tally.piece(rule, count, prose.bytes[rule], prose.examples[rule], document.id)
        if prose.foreign:
            tally.counts.update({"foreign documents": 1, "foreign bytes": len(prose.text.encode("utf-8"))})
        words = count_text_words(prose.text)
        if words >= self.min_words:
            return document.with_text(prose.text)
        tally.remove(document, "too short" if words else _main_rule(prose))
        return None


def reduced(document: Document, without: frozenset[str], english: bool) -> Prose:
    """What the prose step makes of a text. `english`: it is known to be."""
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


def without_short(documents: Shelf, min_words: int, steps: list[Step], shop: Workshop) -> Shelf:
    words = np.concatenate([np.zeros(0, np.int64), *shop.each(_count_words, documents.views())])
    kept = documents.only(documents.rows[words >= min_words])
    tally = tally_rows(documents, "too short", documents.rows[words < min_words])
    steps.append(make_step("length", f"At least {min_words} words per document.", documents, kept, tally))
    return kept


def _count_words(view: View) -> I64:
    texts = (text for _, batch in view.batches() for text in batch.column("text").to_pylist())
    return np.fromiter(map(count_text_words, texts), np.int64, len(view.rows))


def refuse_nothing(documents: Shelf, steps: list[Step]) -> None:
    """Raises InputError if a step left nothing, naming the rule that removed most, an example, and the setting."""
    if len(documents):
        return
    last = steps[-1]
    most = max(last.removed, key=lambda reason: (last.removed[reason], reason))
    share = last.removed[most] / last.documents_in
    example = next((one["text"] for one in last.examples if one["reason"] == most), "")
    keys = {
        "languages": "another corpus.languages", "rules": "another corpus.rules",
        "blocklist": "another corpus.blocklist", "personal data": "corpus.pii=redact",
    }  # fmt: skip
    kept_by = keys.get(last.name, "a smaller corpus.min_words")
    if most in RULES:
        kept_by = f"corpus.skip_rules=[{most}] or corpus.prose=false"
    raise InputError(
        f"nothing is left of {last.documents_in:,} documents after the step {last.name!r}: {share:.0%} as {most!r}"
        f"{f' ({RULES[most]})' if most in RULES else ''}, for example {shorten(' '.join(example.split()), 80)!r}",
        hint=f"{kept_by} keeps them",
    )


def without_exact_duplicates(documents: Shelf, steps: list[Step], shop: Workshop) -> Shelf:
    keys = np.concatenate(list(shop.each(_exact_keys, documents.views())))
    order = preferred(documents.kept)
    what = "Of documents that differ only in white space, one is kept."
    return _without_duplicates(documents, "exact", what, order, first_of_each(keys[order]), steps)


def _exact_keys(view: View) -> np.ndarray:
    return exact_keys(text for _, batch in view.batches() for text in batch.column("text").to_pylist())


def without_near_duplicates(documents: Shelf, config: CorpusConfig, steps: list[Step], shop: Workshop) -> Shelf:
    """Also says how likely pairs of which similarity are found, and how many candidates were none."""
    threshold, by = config.near_duplicate_threshold, _banding(config)
    found = near_duplicates_of(documents, threshold, by, shop)
    curve = ", ".join(f"{chance:.1%} at {similarity:g}" for similarity, chance in recall_curve(threshold, by).items())
    said = (
        f"{found.compared:,} candidates were compared in full, {found.alike:,} of them are near duplicates, "
        f"{found.compared - found.alike:,} are not; the search ({by.bands} bands of {by.rows}) finds pairs, by their "
        f"Jaccard similarity, with probability {curve}"
    )
    if found.compared:
        shop.log.note(f"near duplicates (similarity of {threshold:g} or more): {said}")
    what = f"Of documents whose word n-grams have a Jaccard similarity of {threshold:g} or more, one is kept. {said}."
    return _without_duplicates(documents, "near", what, preferred(documents.kept), found.kept_for, steps)


def _banding(config: CorpusConfig) -> Banding:
    if config.near_duplicate_bands:
        return Banding(config.near_duplicate_bands, config.near_duplicate_rows)
    return banding(config.near_duplicate_threshold)


def _without_duplicates(documents: Shelf, kind: str, what: str, order: I64, kept_for: I64, steps: list[Step]) -> Shelf:
    """Keep the preferred document of each cluster. The order of input files plays no part. `kept_for`: for each place
    of the order the place of the document that is kept."""
    stays = kept_for == np.arange(len(order))
    rows = documents.rows[order]
    kept = documents.only(rows[stays])
    gone = np.flatnonzero(~stays)
    tally = tally_rows(documents, f"{kind} duplicate", rows[gone], rows[kept_for[gone]])
    steps.append(make_step(f"{kind} duplicates", what, documents, kept, tally))
    return kept


def without_shared_paragraphs(documents: Shelf, min_words: int, steps: list[Step], shop: Workshop) -> Shelf:
    """Take out headers, footers and licences: paragraphs that many documents share. No step where there are none."""
    banners = find_banners(documents, shop.each, min_words, shop.folder)
    if not banners.first:
        return documents
    kept, tally = shop.rewritten(documents, "shared paragraphs", banners)
    what = "Of paragraphs shared by at least five documents and 2 % of them, all copies but the first were removed."
    step = make_step("shared paragraphs", what, documents, kept, tally)
    step.pieces = tally.plain_pieces({"shared": "paragraphs that many documents share"})
    steps.append(step)
    return kept


def without_benchmark_items(
    documents: Shelf, where: Path, config: CorpusConfig, steps: list[Step], shop: Workshop
) -> tuple[Shelf, dict[str, Any], list[dict[str, Any]]]:
    """(documents that stay, account for the card, each find). `where`: a file as `write_items` writes it."""
    settings = config.decontaminate
    assert settings is not None
    items = read_items(where)
    finds = find_items(documents, items, settings.share, shop.each, shop.folder)
    told = account(finds, items, settings.share, settings.action)
    ids = documents.facts.ids
    found = [
        {"document": ids[row].decode("utf-8"), "task": items.tasks[item], "item": items.names[item],
         "share": round(share, 4), "removed": settings.action == "remove"}
        for row, item, share in zip(finds.rows.tolist(), finds.items.tolist(), finds.shares.tolist(), strict=True)
    ]  # fmt: skip
    found.sort(key=lambda one: (str(one["document"]), str(one["task"]), str(one["item"])))
    goes = finds.rows if settings.action == "remove" else finds.rows[:0]
    kept = documents.only(np.setdiff1d(documents.rows, goes))
    tally, first = Tally(), dict(zip(finds.rows[::-1].tolist(), finds.items[::-1].tolist(), strict=True))
    for task in dict.fromkeys(items.tasks):
        rows = [row for row in np.unique(goes).tolist() if items.tasks[first[row]] == task]
        if rows:
            tally.add(tally_rows(documents, f"holds items of {task}", np.array(rows, np.int64)))
    done = "goes" if settings.action == "remove" else "is marked, and stays"
    what = (
        f"A document {done} if it holds {settings.share:.0%} of a text of an item, by its 5-grams of words, rare ones "
        "weighing more."
    )
    steps.append(make_step("benchmarks", what, documents, kept, tally))
    short = sum(one["too_short"] for one in told["tasks"].values())
    said = ", ".join(
        f"{name}: {one['found']:,} of {one['items']:,} items in {one['documents']:,} documents"
        for name, one in told["tasks"].items()
    )
    shop.log.note(
        f"benchmarks: {told['documents']:,} documents with items {'removed' if len(goes) else 'kept'} ({said})"
        if told["documents"] else f"benchmarks: no document contains an item ({said})"
    )  # fmt: skip
    if short:
        shop.log.note(f"benchmarks: {short:,} items have no text of {SHORTEST} words and cannot be searched for")
    return kept, told, found


def sides(documents: Shelf, config: CorpusConfig, steps: list[Step], shop: Workshop) -> tuple[Shelf, Shelf]:
    """(train, held-out), neither empty, and without overlap. Raises InputError; see `clean_split`."""
    if len(documents) < 2:
        removed = {reason: count for step in steps for reason, count in step.removed.items()}
        why = ", ".join(f"{count:,} as {reason}" for reason, count in sorted(removed.items()))
        raise InputError(
            f"one document is left of {steps[0].documents_in:,}; a corpus needs two: one to train on, one to hold out"
            + (f". Removed were {why}" if why else ""),
            hint="give more text; corpus.boundary and corpus.max_characters set what is a document",
        )
    found = clean_split(documents, config.heldout, config.max_overlap, shop.each, shop.folder)
    for said in found.said:
        shop.log.warn(said)
    what = (
        f"Held-out documents are dropped if over {config.max_overlap:.0%} of them (word 8-grams, or words in whole "
        "sentences) occurs in training documents: copies measure memory, not learning. The pieces of one text are kept "
        "on one side."
    )
    both = documents.only(np.concatenate([found.train.rows, found.heldout.rows]))
    steps.append(
        make_step("leaks", what, documents, both, tally_rows(documents, "stands in training text", found.gone))
    )
    held, count = len(found.heldout), len(both)
    if held < _FEW_HELDOUT:
        shop.log.note(
            f"{held:,} of {count:,} documents held out: results on so few are imprecise; `heldout` sets the share"
        )
    return found.train, found.heldout
