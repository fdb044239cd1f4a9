"""Problems with verifiable answers: a prompt in any usual layout, and the reference answers of the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tutelage.finetuning.data.audit import Audit, Findings
from tutelage.finetuning.data.fields import Fields, check_columns, is_empty
from tutelage.finetuning.data.kinds import refuse_pairs
from tutelage.finetuning.data.reading import account, convert_all
from tutelage.finetuning.data.records import read_records
from tutelage.finetuning.data.rows import Row
from tutelage.finetuning.data.split import context_key
from tutelage.finetuning.data.turns import (
    CONVERSATIONS,
    FIELDS,
    INSTRUCTION,
    MESSAGES,
    PROMPT,
    prompt_turns,
    refuse_tools,
    with_system,
)
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_json

COLUMNS = ("prompt", "system", "instruction", "input", "messages", "conversations", "answer")
WANTED = "prompt (or question, problem, instruction, messages), and columns that say what is right"
ASKED = (*PROMPT, *INSTRUCTION, *MESSAGES, *CONVERSATIONS)
Grades = Callable[[Sequence[Row]], Callable[[Row], str]]
_OWN = ("id", "prompt", "messages", "split")  # keys of a row that are not the file's


def read_problems(
    path: Path, log: EventLog, columns: Mapping[str, str] | None = None, grades: Grades | None = None
) -> tuple[list[Row], Audit]:
    """Rows {"id", "prompt", ...} and the account of the file, which is said on the log.

    Every further column is kept under its own name for the rewards to look at; `messages` holds all turns where there
    is more than one question. grades: from all rows, what tells why an answer to one of them could not be graded; such
    rows are dropped. Raises InputError where no row can be used.
    """
    source = read_records(path, {*FIELDS, "problem", "solution"}, columns)
    check_columns(columns, COLUMNS, source.columns, source.file)
    refuse_pairs(source, columns)
    there = {name.strip().lower(): name for name in source.columns}
    if "problem" in there and there.keys().isdisjoint(ASKED) and "prompt" not in (columns or {}):
        columns = {**(columns or {}), "prompt": there["problem"]}  # what mathematics calls it
    rows, found = convert_all(source, _problem, WANTED, columns)
    if grades is not None:
        why_not = grades(rows)
        if any(why_not(row) for row in rows):
            rows, found = convert_all(source, partial(_gradable, why_not), WANTED, columns)
    return rows, account(source, rows, found, log)


def _gradable(why_not: Callable[[Row], str], fields: Fields, found: Findings) -> tuple[str, str, Row]:
    kind, identity, row = _problem(fields, found)
    if reason := why_not(row):
        raise ValueError(reason)
    return kind, identity, row


def problem_key(row: Row) -> str:
    """The identity of a problem: its whole prompt, regardless of the reference answer."""
    return context_key({key: row[key] for key in ("prompt", "messages") if key in row})


def _problem(fields: Fields, found: Findings) -> tuple[str, str, Row]:
    refuse_tools(fields)
    kind, turns = prompt_turns(fields, found)
    turns = with_system(fields, turns)
    row: Row = {}
    if turns and turns[-1]["role"] == "assistant":  # an answered conversation: its last answer is the reference
        row["response"] = turns[-1]["content"]
        turns = turns[:-1]
    if not turns or turns[-1]["role"] != "user":
        raise ValueError("the prompt does not end with a question")
    if fields.named("answer"):
        row["answer"] = fields.take("answer")
    judged = fields.peek("reward_model")
    if isinstance(judged, dict) and not is_empty(judged.get("ground_truth")):  # verl
        fields.take("reward_model")
        row["ground_truth"] = judged["ground_truth"]
    for name in fields.unused():
        value = fields.take(name.strip().lower())
        if name not in _OWN and isinstance(value, (str, int, float, bool)):
            row[name] = value
        elif name not in _OWN[:3]:
            found.unused.add(name)
    row["prompt"] = turns[-1]["content"]
    if len(turns) > 1:
        row["messages"] = turns
    return kind, sha256_json(row)[:16], row
