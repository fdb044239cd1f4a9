"""Preference pairs in every usual layout: a shared context, a chosen and a rejected answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.finetuning.data.audit import Audit, Findings
from tutelage.finetuning.data.fields import Fields, check_columns, is_empty
from tutelage.finetuning.data.kinds import CHOSEN, REJECTED, refuse_judged, refuse_other, refuse_unpaired
from tutelage.finetuning.data.published import usual
from tutelage.finetuning.data.reading import account, convert_all
from tutelage.finetuning.data.records import read_records
from tutelage.finetuning.data.rows import Row
from tutelage.finetuning.data.templated import Turn, transcript
from tutelage.finetuning.data.turns import (
    CONVERSATIONS,
    FIELDS,
    INSTRUCTION,
    MESSAGES,
    PROMPT,
    answer_turns,
    holds_messages,
    prompt_turns,
    refuse_tools,
    turns_of,
    with_system,
)
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_json

COLUMNS = ("prompt", "chosen", "rejected", "system", "instruction", "input", "history", "messages", "conversations",
           "margin")  # fmt: skip
WANTED = "prompt/chosen/rejected, or chosen and rejected conversations"
_SCORES = (("chosen_score", "rejected_score"), ("score_chosen", "score_rejected"))


def read_preferences(
    path: Path, log: EventLog, columns: Mapping[str, str] | None = None, method: str = "prefer"
) -> tuple[list[Row], Audit]:
    """Rows {"id","messages","prompt","chosen","rejected"} and the account of the file, which is said on the log.

    `messages`: the turns that both answers follow; `prompt` is the last of them. `margin`: by how much the chosen
    answer is the better one, where a reward model is wanted and the row says it. Raises InputError where no row can be
    used, or the file holds judged single answers (KTO) or questions with one answer.
    """
    source = usual(read_records(path, (*FIELDS, *CHOSEN, *REJECTED), columns), "pairs")
    check_columns(columns, COLUMNS, source.columns, source.file)
    if not any(Fields(record, columns).has(*REJECTED) for record in source.rows):
        refuse_other(source, columns, "prefer")
        refuse_judged(source, columns, method)
        refuse_unpaired(source, columns)
    rows, found = convert_all(source, _with_margin if method == "reward" else preference_row, WANTED, columns)
    swapped = found.noted.pop("swapped", 0)
    if swapped:
        found.warnings.append(f"in {swapped} rows the rejected answer has the higher score: are the columns swapped?")
    if tied := found.noted.pop("tied", 0):
        found.warnings.append(f"in {tied} rows both answers have the same score: such a pair is no preference")
    return rows, account(source, rows, found, log)


def preference_row(fields: Fields, found: Findings) -> tuple[str, str, Row]:
    """(layout, id, row) of one record; see `read_preferences`. Raises ValueError for one that cannot be used."""
    refuse_tools(fields)
    for names in (CHOSEN, REJECTED):
        if not fields.has(*names):
            fields.take_text(*names)
    sides = [_answer(fields.take(*names), names[0], found) for names in (CHOSEN, REJECTED)]
    if any("weight" in turn for side in sides for turn in side):
        found.unused.add("messages.weight")
    asked = any(fields.has(*names) for names in (INSTRUCTION, PROMPT, MESSAGES, CONVERSATIONS))
    context, chosen, rejected = _apart(*sides)
    if context:
        kind = "chosen and rejected conversations"
        # The prompt beside whole conversations repeats what they say; where it says something else, it is named.
        if asked and _same_question(fields, context):
            prompt_turns(fields, found)
    else:
        kind, context = prompt_turns(fields, found)
        kind = "prompt/chosen/rejected" if kind == "prompt" else f"{kind} with chosen and rejected"
    context = with_system(fields, context)
    refuse_tools(fields, [context, *sides])
    if not context or context[-1]["role"] != "user":
        raise ValueError("the prompt does not end with a question")
    if chosen == rejected:
        raise ValueError("'chosen' and 'rejected' are equal")
    _scores(fields, found)
    row: Row = {"messages": context, "prompt": context[-1]["content"], "chosen": chosen, "rejected": rejected}
    return kind, identity(row), row


def _with_margin(fields: Fields, found: Findings) -> tuple[str, str, Row]:
    """A pair, and by how much its chosen answer is the better one, where the row says it."""
    kind, name, row = preference_row(fields, found)
    if fields.has("margin"):
        margin = fields.take("margin")
        try:
            row["margin"] = float(margin)
        except (TypeError, ValueError):
            raise ValueError(f"'margin' is {margin!r}, not a number") from None
        if not math.isfinite(row["margin"]):
            raise ValueError(f"'margin' is {margin!r}, not a finite number")
    return kind, name, row


def identity(row: Row) -> str:
    """The row's id: of a single question by the three texts alone, else by the whole context too."""
    plain: Row = {key: row[key] for key in ("prompt", "chosen", "rejected")}
    plain |= {"chosen_score": 1.0, "rejected_score": 0.0}
    if len(row["messages"]) > 1:
        plain["messages"] = row["messages"]
    return sha256_json(plain)[:16]


def _answer(value: Any, name: str, found: Findings) -> list[Turn]:
    if isinstance(value, str) and (turns := transcript(value)):
        return turns
    return answer_turns(value, name, found)


def _apart(chosen: list[Turn], rejected: list[Turn]) -> tuple[list[Turn], str, str]:
    """The turns both sides share, and the one answer of each that follows them. Raises ValueError."""
    if chosen[:-1] != rejected[:-1]:
        raise ValueError("the two answers do not follow the same turns")
    if chosen[-1]["role"] != "assistant" or rejected[-1]["role"] != "assistant":
        raise ValueError("a side does not end with an answer")
    return chosen[:-1], chosen[-1]["content"], rejected[-1]["content"]


def _same_question(fields: Fields, context: list[Turn]) -> bool:
    """Whether the prompt beside whole conversations says what their last question says."""
    value = fields.peek(*PROMPT)
    if is_empty(value):
        return True
    said = turns_of(value, Findings()) if holds_messages(value) else transcript(str(value)) or [{"content": str(value)}]
    return bool(said) and " ".join(said[-1]["content"].split()) == " ".join(context[-1]["content"].split())


def _scores(fields: Fields, found: Findings) -> None:
    for names in _SCORES:
        good, bad = (fields.take(name) if fields.has(name) else None for name in names)
        if isinstance(good, (int, float)) and isinstance(bad, (int, float)) and good <= bad:
            found.noted["swapped" if good < bad else "tied"] += 1
