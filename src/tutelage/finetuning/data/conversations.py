"""Questions and answers: instruction data in every usual layout, as conversations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tutelage.finetuning.data.audit import Audit, Findings, counted, listed
from tutelage.finetuning.data.fields import Fields, check_columns
from tutelage.finetuning.data.kinds import refuse_judged, refuse_other, refuse_pairs
from tutelage.finetuning.data.odd_labels import NO_LABELS
from tutelage.finetuning.data.published import usual
from tutelage.finetuning.data.reading import account, convert_all, is_false, is_judgement
from tutelage.finetuning.data.records import read_records
from tutelage.finetuning.data.rows import Row
from tutelage.finetuning.data.templated import Turn
from tutelage.finetuning.data.tools import calls_text, tools_of
from tutelage.finetuning.data.turns import (
    CONVERSATIONS,
    FIELDS,
    MESSAGES,
    RESPONSE,
    answer_turns,
    prompt_turns,
    turns_of,
    whole_text,
    with_system,
)
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_json

COLUMNS = ("prompt", "response", "system", "instruction", "input", "history", "messages", "conversations", "tools")
_NOTHING = (*NO_LABELS, "todo", "tbd", ".", "...", "…", "test", "[deleted]", "[removed]")
_MANY = 10  # rows from which on one answer to most questions is odd
WANTED = "prompt/response, alpaca (instruction, input, output), messages or conversations"


def read_conversations(path: Path, log: EventLog, columns: Mapping[str, str] | None = None) -> tuple[list[Row], Audit]:
    """Rows {"id","messages","prompt","response"} and the account of the file, which is said on the log.

    `messages`: all turns ({"role","content"}; "weight" where an answer is not or not fully learned, "tool_calls" where
    it calls tools), up to the last answer; `prompt` and `response` are its last exchange; `tools`: what may be called,
    where a row says so. `columns`: our name of a field -> the file's column. Raises InputError where no row can be
    used, or where answers are judged or ranked, so that bad ones would be learned.
    """
    source = usual(read_records(path, FIELDS, columns), "answers")
    check_columns(columns, COLUMNS, source.columns, source.file)
    refuse_pairs(source, columns)
    refuse_other(source, columns, "instruct")
    refuse_judged(source, columns, "instruct")
    rows, found = convert_all(source, conversation_row, WANTED, columns)
    found.warnings += _odd_answers(rows)
    return rows, account(source, rows, found, log)


def _odd_answers(rows: Sequence[Row]) -> list[str]:
    """Warnings of answers that say nothing, as forms and tools leave them, and of one answer to most questions."""
    answers = Counter(row["response"].strip() for row in rows)
    said = []
    nothing = {answer: count for answer, count in answers.items() if answer.lower() in _NOTHING}
    if nothing:
        shown = listed([f"{answer!r} {count}" for answer, count in nothing.items()])
        said.append(f"{counted(sum(nothing.values()), 'answer')} may be no answer and would be learned: {shown}")
    answer, count = answers.most_common(1)[0]
    if len(rows) >= _MANY and count > len(rows) / 2:
        said.append(f"{count} of {len(rows)} answers are the same: {answer[:40]!r}")
    return said


def conversation_row(fields: Fields, found: Findings) -> tuple[str, str, Row]:
    """(layout, id, row) of a record in any layout of questions and answers."""
    tools = tools_of(fields.take("tools", "functions"))
    _refuse_weightless(fields)
    apart = fields.named("prompt", "instruction", "response")
    if fields.has(*MESSAGES) and not apart:
        kind, turns = "messages", turns_of(fields.take(*MESSAGES), found)
    elif fields.has(*CONVERSATIONS) and not apart:
        kind, turns = "conversations", turns_of(fields.take(*CONVERSATIONS), found)
    elif (written_out := whole_text(fields)) is not None:
        kind, turns = written_out
    else:
        kind, turns = prompt_turns(fields, found)
        if turns and turns[-1]["role"] != "user":
            raise ValueError("the prompt does not end with a question")
        kind = "prompt/response" if kind == "prompt" else kind
        if not fields.has(*RESPONSE):
            fields.take_text(*RESPONSE)
        turns = [*turns, *answer_turns(fields.take(*RESPONSE), "response", found)]
    turns = with_system(fields, turns)
    row = row_of(turns, found)
    if tools:
        row["tools"] = tools
    if tools or any("tool_calls" in turn for turn in row["messages"]):
        found.noted["conversations define or call tools"] += 1
    return kind, identity(row), row


def row_of(turns: list[Turn], found: Findings) -> Row:
    """The row of a conversation. Raises ValueError where no question is followed by an answer that is learned."""
    kept = _joined(turns, found)
    while kept and kept[-1]["role"] != "assistant":
        kept.pop()
    if len(kept) < 2 or kept[-2]["role"] not in ("user", "tool"):
        raise ValueError("no question followed by an answer")
    if kept[-1] is not turns[-1] and turns[-1]["role"] != "assistant":
        found.noted["turns after the last answer are not used"] += 1
    answers = [turn for turn in kept if turn["role"] == "assistant"]
    if all(turn.get("weight", 1) == 0 for turn in answers):
        raise ValueError("no answer is to be learned (weight 0)")
    if any("weight" in turn for turn in answers):
        found.noted["answers with a weight are learned by it"] += 1
    return {"messages": kept, "prompt": kept[-2]["content"], "response": calls_text(kept[-1])}


def _joined(turns: list[Turn], found: Findings) -> list[Turn]:
    """The turns with the last of several answers in a row, which no question stands between, as one answer."""
    kept = list(turns)
    plain = {"role", "content"}
    while len(kept) > 1 and all(turn["role"] == "assistant" and turn.keys() == plain for turn in kept[-2:]):
        kept[-2:] = [{"role": "assistant", "content": f"{kept[-2]['content']}\n\n{kept[-1]['content']}"}]
    if len(kept) < len(turns):
        found.noted["several answers in a row are read as one, a blank line between them"] += 1
    return kept


def identity(row: Row) -> str:
    """The row's id: of one question and answer by these alone, else by the whole conversation."""
    plain: Row = {"prompt": row["prompt"], "response": row["response"], "name": "", "signature": ""}
    if len(row["messages"]) > 2 or any("weight" in turn or "tool_calls" in turn for turn in row["messages"]):
        plain["messages"] = row["messages"]
    if "tools" in row:
        plain["tools"] = row["tools"]
    return sha256_json(plain)[:16]


def _refuse_weightless(fields: Fields) -> None:
    """A row that says of itself that it is not to be learned is dropped; other weights of rows are named as unused."""
    for name in ("weight", "train"):
        if fields.has(name) and is_judgement(fields.peek(name)) and is_false(fields.take(name)):
            raise ValueError(f"the row is not to be learned ({name!r} says so)")
