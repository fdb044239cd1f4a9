"""The texts of multi-label classification: split with rare labels on both sides, and kept labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tutelage.finetuning.classify.rows import both_read
from tutelage.finetuning.data import Audit, Labels, Row, Split, choose_labels, stratified_split
from tutelage.finetuning.data.multilabel import read_multilabel
from tutelage.finetuning.multilabel.config import MultilabelConfig
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import by_hash
from tutelage.store.stage import Job
from tutelage.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Prepared:
    """Rows {"id", "text", "labels"} with truncated texts. cut: number of truncated texts."""

    train: list[Row]
    heldout: list[Row]
    labels: Labels
    cut: int
    audit: Audit


def own_rows(config: MultilabelConfig, log: EventLog, data_seed: int) -> tuple[Split, Audit]:
    """The user's file, split, and its audit. Raises InputError if it is unusable.

    The split is stratified by the rarest label of each text, so that every label has about its share of held-out texts
    (Sechidis et al. 2011).
    """
    assert config.data is not None
    rows, audit = read_multilabel(Path(config.data).expanduser(), log, config.columns)
    counts = Counter(label for row in rows for label in row["labels"])
    marked = [
        {**row, "label": min(row["labels"], key=lambda label: (counts[label], label), default="")} for row in rows
    ]
    found = stratified_split(marked, data_seed, config.heldout)
    train, heldout = ([{k: v for k, v in row.items() if k != "label"} for row in part]
                      for part in (found.train, found.heldout))  # fmt: skip
    if reason := labels_of(config, train, heldout).why_not:
        raise InputError(
            f"{Path(config.data).name}: {reason}",
            hint="give rows of two labels or more, each with two different texts at least, or lower min_per_label",
        )
    return Split(train, heldout, found.notes), audit


def labels_of(config: MultilabelConfig, train: Iterable[Row], heldout: Iterable[Row]) -> Labels:
    return choose_labels(_single(train), _single(heldout), config.min_per_label)


def prepare(job: Job, tok: Tokenizer, limit: int) -> Prepared:
    """Training and held-out rows, each text truncated to `limit` tokens."""
    config, log = job.config, job.log
    split, audit = own_rows(config, log, job.data_seed)
    split.tell(log)
    labels = labels_of(config, split.train, split.heldout)
    labels.tell(log)
    train = by_hash(only_labels(split.train, labels.kept), job.data_seed)
    heldout = by_hash(only_labels(split.heldout, labels.kept), job.data_seed)[: config.max_heldout]
    train, heldout, cut, same = both_read(tok, train, heldout, limit, log)
    log.note(
        f"{len(labels.kept)} labels, {len(train)} training texts, {len(heldout)} held out; texts are read up to "
        f"{limit} tokens, which truncates {cut} texts; {same} held-out texts equal to a training text are dropped"
    )
    return Prepared(train, heldout, labels, cut, audit)


def indicators(rows: Sequence[Row], labels: Sequence[str]) -> NDArray[np.float32]:
    """Indicator matrix [rows, labels]: 1 if a row has the label."""
    number = {label: index for index, label in enumerate(labels)}
    found = np.zeros((len(rows), len(labels)), np.float32)
    for at, row in enumerate(rows):
        found[at, [number[label] for label in row["labels"]]] = 1
    return found


def _single(rows: Iterable[Row]) -> list[Row]:
    return [{"label": label} for row in rows for label in row["labels"]]


def only_labels(rows: Iterable[Row], kept: Sequence[str]) -> list[Row]:
    return [{**row, "labels": [label for label in row["labels"] if label in kept]} for row in rows]
