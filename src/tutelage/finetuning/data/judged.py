"""Responses labelled good or bad one by one (KTO), in every usual layout; a pair gives one of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tutelage.finetuning.data.audit import Audit, Findings
from tutelage.finetuning.data.conversations import row_of
from tutelage.finetuning.data.fields import Fields, check_columns, is_empty
from tutelage.finetuning.data.kinds import CHOSEN, JUDGED, REJECTED, judgement
from tutelage.finetuning.data.preferences import COLUMNS as PAIR_COLUMNS
from tutelage.finetuning.data.preferences import read_preferences
from tutelage.finetuning.data.published import usual
from tutelage.finetuning.data.reading import account, convert_all
from tutelage.finetuning.data.records import read_records
from tutelage.finetuning.data.rows import Row
from tutelage.finetuning.data.turns import (
    CONVERSATIONS,
    FIELDS,
    MESSAGES,
    RESPONSE,
    answer_turns,
    prompt_turns,
    refuse_tools,
    turns_of,
    with_system,
)
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_json

COLUMNS = ("prompt", "completion", "response", "label", "system", "instruction", "input", "history", "messages",
           "conversations")  # fmt: skip
WANTED = "prompt/completion/label, or messages and label (true: a good answer, false: a bad one)"


def read_judged(path: Path, log: EventLog, columns: Mapping[str, str] | None = None) -> tuple[list[Row], Audit]:
    """Rows {"id","messages","prompt","completion","label"} and the account of the file, which is said on the log.

    `messages`: the turns that the answer follows; `label`: whether it is a good one. A file of pairs gives two rows a
    pair. Raises InputError where no row can be used, or all answers are judged alike.
    """
    source = usual(read_records(path, (*FIELDS, *CHOSEN, *REJECTED, *JUDGED), columns), "pairs")
    if any(Fields(record, columns).has(*REJECTED) for record in source.rows):
        check_columns(columns, PAIR_COLUMNS, source.columns, source.file)
        pairs, audit = read_preferences(path, log, columns)
        log.note(f"{source.file}: each pair is read as a good answer and a bad one")
        return judged_of(pairs), audit
    check_columns(columns, COLUMNS, source.columns, source.file)
    rows, found = convert_all(source, _judged, WANTED, columns)
    good = sum(row["label"] for row in rows)
    if good in (0, len(rows)):
        hint = "good answers alone are for the method 'instruct'" if good else "bad answers alone teach nothing to say"
        raise InputError(f"{source.file}: all {len(rows)} answers are judged {'good' if good else 'bad'}", hint=hint)
    found.notes.append(f"{good} answers are judged good, {len(rows) - good} bad")
    return rows, account(source, rows, found, log)


def judged_of(pairs: list[Row]) -> list[Row]:
    """Two labelled responses from each pair."""
    rows = []
    for pair in pairs:
        shared: Row = {key: pair[key] for key in ("messages", "prompt", "split") if key in pair}
        for key, label in (("chosen", True), ("rejected", False)):
            row: Row = {"id": f"{pair['id']}-{key}", **shared, "completion": pair[key], "label": label}
            rows.append(row)
    return rows


def _judged(fields: Fields, found: Findings) -> tuple[str, str, Row]:
    refuse_tools(fields)
    label = fields.take(*JUDGED)
    if is_empty(label):
        raise ValueError("no 'label'")
    good = judgement(label)
    if good is None:
        raise ValueError(f"'label' is {label!r}, neither true nor false")
    if fields.has(*MESSAGES, *CONVERSATIONS) and not fields.has(*RESPONSE):
        kind, turns = "messages with a label", turns_of(fields.take(*MESSAGES, *CONVERSATIONS), found)
    else:
        _, turns = prompt_turns(fields, found)
        if not fields.has(*RESPONSE):
            fields.take_text("completion", *RESPONSE)
        kind = "prompt/completion/label"
        turns = [*turns, *answer_turns(fields.take("completion", *RESPONSE), "completion", found)]
    # As in instruction data: up to the last response, which is the one with the label.
    turns = row_of(with_system(fields, turns), found)["messages"]
    row: Row = {
        "messages": turns[:-1],
        "prompt": turns[-2]["content"],
        "completion": turns[-1]["content"],
        "label": good,
    }
    return kind, sha256_json(row)[:16], row
