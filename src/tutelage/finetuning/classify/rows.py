"""The labelled texts of the classification stage: source, kept labels, and truncation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tutelage.finetuning.classify.config import ClassifyConfig
from tutelage.finetuning.common import task_rows
from tutelage.finetuning.data import Audit, Labels, Row, Split, choose_labels, read_labelled, stratified_split
from tutelage.finetuning.preflight.figures import number_of
from tutelage.model.config import ModelConfig
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.format import plural
from tutelage.store.hashing import by_hash
from tutelage.store.stage import Job
from tutelage.tasks import task
from tutelage.tokenizer.frame import with_frame
from tutelage.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Prepared:
    """Rows {"id", "text", "label"} with truncated texts, and an account of the dropped ones.

    natural: rows per label before any cap. cut: number of truncated texts. audit: of a user's file.
    """

    train: list[Row]
    heldout: list[Row]
    labels: Labels
    natural: dict[str, int]
    cut: int
    audit: Audit | None


def why_not(config: ClassifyConfig, inputs: Mapping[str, Path]) -> str | None:
    """Why the corpus is unsuitable for the stage, as a sentence; None if it is suitable."""
    if config.data is not None or config.task is None:
        return None
    found = task_rows(task(config.task), inputs["corpus"], 0)
    reason = labels_of(config, found.train, found.heldout).why_not
    return reason and f"the corpus is unsuitable for a classifier: {reason}"


def framed(tok: Tokenizer, frame: str, base: ModelConfig) -> Tokenizer:
    """The tokenizer with the configured frame; a base that is already a classifier keeps its own."""
    return with_frame(tok, frame) if frame and not base.num_labels else tok


def labels_of(config: ClassifyConfig, train: list[Row], heldout: list[Row]) -> Labels:
    found = choose_labels(train, heldout, config.min_per_label, config.max_per_label, config.min_heldout)
    return replace(found, kept=in_order(config, found)) if config.ordinal and not found.why_not else found


def in_order(config: ClassifyConfig, found: Labels) -> tuple[str, ...]:
    """The kept labels in order. Raises InputError for an unknown order, and for fewer than three labels."""
    if len(found.kept) < 3:
        raise InputError("ordinal has no effect with two labels", hint="remove ordinal")
    if config.labels:
        if unknown := sorted({*found.kept, *found.dropped} - set(config.labels)):
            raise InputError(f"labels lacks {unknown[0]!r}, which occurs in the rows", hint="list all labels in order")
        return tuple(label for label in config.labels if label in found.kept)
    if unknown := [label for label in found.kept if number_of(label) is None]:
        raise InputError(
            f"the order of the labels is unknown: {unknown[0]!r} is not a number",
            hint=f"list them in order: labels=[{','.join(found.kept)}]",
        )
    return tuple(sorted(found.kept, key=lambda label: number_of(label) or 0.0))


def own_rows(config: ClassifyConfig, log: EventLog, data_seed: int) -> tuple[Split, Audit]:
    """Read and split the user's file, with its audit. Raises InputError if it cannot be used."""
    assert config.data is not None
    rows, audit = read_labelled(Path(config.data).expanduser(), log, config.columns)
    found = stratified_split(rows, data_seed, config.heldout)
    if reason := labels_of(config, found.train, found.heldout).why_not:
        raise InputError(
            f"{Path(config.data).name}: {reason}",
            hint="give rows of two labels or more, each with two different texts at least, or lower min_per_label",
        )
    return found, audit


def prepare(job: Job, tok: Tokenizer, limit: int) -> Prepared:
    """Training and held-out rows, each text truncated to `limit` tokens.

    Raises InputError without two usable labels or held-out rows.
    """
    config, log = job.config, job.log
    train, heldout, audit = _rows(config, job)
    chosen = labels_of(config, train, heldout)
    if chosen.why_not:
        raise InputError(chosen.why_not, hint="lower min_per_label or give more text")
    chosen.tell(log)
    natural = Counter(row["label"] for row in [*train, *heldout])
    train = _capped(train, chosen.kept, config.max_per_label or len(train), job.data_seed)
    heldout = by_hash([row for row in heldout if row["label"] in chosen.kept], job.data_seed)[: config.max_heldout]
    train, heldout, cut, same = both_read(tok, train, heldout, limit, log)
    train = _shared(train, config.share)
    log.note(
        f"{len(chosen.kept)} labels, {len(train)} training texts, {len(heldout)} held out; texts are read up to "
        f"{limit} tokens, which truncates {cut} texts; {same} held-out texts equal to a training text are dropped; "
        f"class weights: {config.class_weights}"
    )
    return Prepared(train, heldout, chosen, {label: natural[label] for label in chosen.kept}, cut, audit)


def _rows(config: ClassifyConfig, job: Job) -> tuple[list[Row], list[Row], Audit | None]:
    if config.data is not None:
        split, audit = own_rows(config, job.log, job.data_seed)
        split.tell(job.log)
        return split.train, split.heldout, audit
    assert config.task is not None
    found = task_rows(task(config.task), job.inputs["corpus"], job.data_seed)
    return found.train, found.heldout, None


def _capped(rows: list[Row], labels: Sequence[str], most: int, seed: int) -> list[Row]:
    """At most `most` rows of each label, in hash order."""
    taken: Counter[str] = Counter()
    kept = []
    for row in by_hash(rows, seed):
        if row["label"] in labels and taken[row["label"]] < most:
            taken[row["label"]] += 1
            kept.append(row)
    return kept


def _shared(rows: list[Row], share: float) -> list[Row]:
    """The first rows of each label, in row order."""
    wanted = {label: max(1, round(share * count)) for label, count in Counter(row["label"] for row in rows).items()}
    taken: Counter[str] = Counter()
    kept = []
    for row in rows:
        if taken[row["label"]] < wanted[row["label"]]:
            taken[row["label"]] += 1
            kept.append(row)
    return kept


def both_read(
    tok: Tokenizer, train: list[Row], heldout: list[Row], limit: int, log: EventLog
) -> tuple[list[Row], list[Row], int, int]:
    """(training rows, held-out rows, number of truncated texts, number of dropped held-out texts that equal a training
    text), with truncated texts. Raises InputError if no held-out row is left."""
    before = len(train) + len(heldout)
    train, cut_train = read_as(tok, train, limit)
    heldout, cut_heldout = read_as(tok, heldout, limit)
    if unreadable := before - len(train) - len(heldout):
        log.warn(f"{plural(unreadable, 'text')} dropped: the tokenizer gives no tokens")
    known = {row["text"] for row in train}
    unseen = [row for row in heldout if row["text"] not in known]
    if not unseen:
        raise InputError("every held-out text equals a training text after truncation", hint="raise max_tokens")
    return train, unseen, cut_train + cut_heldout, len(heldout) - len(unseen)


def read_as(tok: Tokenizer, rows: list[Row], limit: int) -> tuple[list[Row], int]:
    """Rows with texts truncated to `limit` tokens, frame included, and the number of truncated ones."""
    kept, cut = [], 0
    limit = max(1, limit - len(tok.framed([])))  # the frame counts too
    for row, ids in zip(rows, tok.encode_batch([row["text"] for row in rows]), strict=True):
        text, keep = row["text"], limit
        while len(ids) > limit:
            # Truncation may fall inside a character, and the shorter text may encode to more tokens.
            text = tok.decode(ids[:keep]).rstrip("\ufffd")
            ids, keep = tok.encode(text), keep - 1
        cut += text is not row["text"]
        if ids:
            kept.append({**row, "text": text})
    return kept, cut
