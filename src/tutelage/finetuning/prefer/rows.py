"""The rows of preference finetuning: pairs or judged answers, from a file or sampled, and their split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.finetuning.data import (
    Audit,
    Row,
    Split,
    judged_of,
    read_judged,
    read_preferences,
    read_rows,
    stratified_split,
)
from tutelage.finetuning.data.fields import Fields
from tutelage.finetuning.data.kinds import REJECTED, judgements
from tutelage.finetuning.data.records import read_records
from tutelage.finetuning.data.turns import FIELDS
from tutelage.finetuning.prefer.config import PreferConfig
from tutelage.finetuning.prefer.defaults import KNOWN
from tutelage.store.events import EventLog
from tutelage.store.hashing import by_hash
from tutelage.store.stage import Job


def settings_for(config: PreferConfig) -> dict[str, Any]:
    """Settings that follow from the user's file: loss `kto` if its answers are judged one by one."""
    assert config.data is not None
    source = read_records(Path(config.data).expanduser(), FIELDS, config.columns)
    paired = any(Fields(record, config.columns).has(*REJECTED) for record in source.rows)
    return {"loss": "kto"} if not paired and judgements(source, config.columns) else {}


def own_rows(config: PreferConfig, log: EventLog, data_seed: int) -> tuple[Split, Audit]:
    """The user's file, split so that near-duplicate prompts are on the same side, and its audit.

    Raises InputError if the file is unusable.
    """
    assert config.data is not None
    path = Path(config.data).expanduser()
    read = read_judged if KNOWN[config.loss].judged else read_preferences
    rows, audit = read(path, log, config.columns)
    return stratified_split(rows, data_seed, config.heldout, near=True), audit


def prepare(config: PreferConfig, job: Job) -> tuple[list[Row], list[Row], Audit | None]:
    """(training rows, held-out rows, audit of the user's file or None)."""
    audit = None
    if config.data is not None:
        split, audit = own_rows(config, job.log, job.data_seed)
        split.tell(job.log)
        train_rows, heldout = split.train, split.heldout
    else:
        train_rows, heldout = (read_rows(job.inputs["pairs"] / f"{name}.jsonl") for name in ("train", "heldout"))
        if KNOWN[config.loss].judged:
            train_rows, heldout = judged_of(train_rows), judged_of(heldout)
    if config.max_pairs and len(train_rows) > config.max_pairs:
        job.log.note(f"{len(train_rows) - config.max_pairs} training rows beyond max_pairs are left out")
        train_rows = by_hash(train_rows, job.data_seed)[: config.max_pairs]
    return train_rows, heldout, audit
