"""Build a task from a user's own rows without a task file: columns are given or detected."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tutelage.evaluation.bench.own_gold import gold_of
from tutelage.evaluation.bench.sources import Row, read_file
from tutelage.evaluation.bench.task import BenchTask
from tutelage.evaluation.bench.templates import ROW
from tutelage.store.errors import ConfigError, InputError, nearest
from tutelage.store.written import written

_QUESTIONS = ("question", "query", "prompt", "context", "ctx", "instruction", "input", "text", "sentence", "goal")
_CHOICES = ("choices", "options", "endings", "answers", "candidates")
_GOLD = ("answer", "label", "gold", "target", "correct", "answerKey", "answer_key", "output", "response", "answer_idx")
_SEVERAL = ("answers", "references", "targets")  # lists of answers, each of which is right, where no answer is named
_ALIASES = ("aliases", "answer_aliases", "possible_answers", "alternatives")
_NUMBERED = re.compile(r"(?i)((?:option|choice|answer|ending|opt?|sol|candidate)?[ _]?)([a-j]|[0-9])")
_NO_NAMES = ("and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "True", "False", "None")


def own_task(path: Path, context: str | None = None, choices: str | None = None, gold: str | None = None) -> BenchTask:
    """A task from the rows of a file (JSON lines, CSV, TSV, Parquet), or from a text, for bits per byte.

    context: a column or a template ("Question: {{q}}\\nAnswer:"). choices: a column with a list, or several columns
    ("a,b,c"). gold: the column with the right one: its number from 0, its letter, or its text. Columns that are not
    given are detected by name. Rows with a right answer and no choices become generation items, with a list of right
    answers any of which counts; rows with only text are scored as text. Raises InputError, naming the columns, if
    detection fails, if a row lacks its question or right answer, or if that answer is ambiguous.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder", hint="name one file of it")
    if not path.is_file():
        raise ConfigError(f"{path} does not exist")
    rows = read_file(path)
    if not rows:
        raise InputError(f"{path} has no rows")
    columns = list(dict.fromkeys(name for row in rows for name in row if name is not None))
    for given, option in ((context, "--context"), (choices, "--choices"), (gold, "--gold")):
        _refuse_unknown(given, option, columns, path)
    common = {
        "name": path.name.split(".")[0],
        "title": f"own rows of {path.name}",
        "data": {"sources": [{"file": str(path.absolute())}]},
    }
    if columns == ["text"] or (context is None and choices is None and gold is None and _only_text(columns)):
        _refuse_empty(rows, "text", path)
        return BenchTask.parse({**common, "kind": "rolling", "text": "{{text}}", "metric": "bits_per_byte"})
    asked = context or _asked(columns, path)
    right = gold or _right(rows, columns, path)
    for column in (asked, right):
        if column in columns:
            _refuse_empty(rows, column, path)
    template = asked if "{" in asked else "{{" + (name_of(asked) if asked in columns else asked) + "}}"
    listed = choices or _choices(columns, (asked, right))
    if listed is None or (choices is None and listed == right):
        targets, used = _targets(rows, columns, right, path)
        unread = [name for name in columns if name not in (*used, right) and name not in asked]
        cautions = [f"unused columns: {', '.join(unread)}"] if unread else []
        return BenchTask.parse({
            **common, "kind": "generate", "context": template, "targets": targets, "until": ["\n"], "max_tokens": 64,
            "metric": "exact", "cautions": cautions,
        })  # fmt: skip
    listed = _expression(rows, columns, listed)
    if choices is None and listed == "answers":
        _refuse_either(rows, right, path)
    # An expression of the user's own is taken at its word.
    own = right not in columns
    expression, cautions = (right, []) if own else gold_of(rows, listed, name_of(right), path.name)
    return BenchTask.parse({
        **common, "kind": "choice", "context": template, "choices": listed, "gold": expression, "metric": "acc_norm",
        "cautions": cautions,
    })  # fmt: skip


def name_of(column: str) -> str:
    """A column in an expression: its name, or the row's item where that is no name (`my question`)."""
    return column if column.isidentifier() and column not in _NO_NAMES else f"{ROW}[{column!r}]"


def _refuse_unknown(given: str | None, option: str, columns: Sequence[str], path: Path) -> None:
    """Raise InputError for the name of a column that is not there; templates and expressions are checked on rows."""
    for name in (given or "").split(",") if given not in columns else ():
        if name.strip().isidentifier() and name.strip() not in columns:
            raise InputError(f"{path.name}: {option} names no column: {name.strip()!r}",
                             hint=nearest(name.strip(), columns))  # fmt: skip


def _only_text(columns: list[str]) -> bool:
    return "text" in columns and not any(name in columns for name in (*_CHOICES, *_GOLD))


def _asked(columns: list[str], path: Path) -> str:
    """The column of the question; for instructions with an input (Alpaca), a template of both."""
    lower = {name.lower(): name for name in columns}
    if "instruction" in lower and "input" in lower:
        more = lower["input"]
        return "{{" + lower["instruction"] + "}}{% if " + more + " %}\n{{" + more + "}}{% endif %}"
    return _known(_QUESTIONS, columns, path, "--context")


def _right(rows: Sequence[Row], columns: list[str], path: Path) -> str:
    """The column of the right answer, or of several right ones where no column of a single one is there."""
    several = [name for name in _SEVERAL if name in columns and all(_answers(row.get(name)) for row in rows)]
    if several and not {name.lower() for name in _GOLD} & {name.lower() for name in columns}:
        return several[0]
    return _known(_GOLD, columns, path, "--gold")


def _known(names: tuple[str, ...], columns: list[str], path: Path, option: str) -> str:
    lower = {column.lower(): column for column in reversed(columns)}
    found = next((name if name in columns else lower[name.lower()] for name in names if name.lower() in lower), None)
    if found is None:
        hint = f"name it with {option}"
        if "messages" in columns:
            hint += '; of a conversation: --context "{{messages[-2].content}}" --gold "messages[-1].content"'
        raise InputError(f"{path.name}: no column was recognised among: {', '.join(columns)}", hint=hint)
    return found


def _refuse_empty(rows: Sequence[Row], column: str, path: Path) -> None:
    """Raise InputError if a column is empty in some rows, which would otherwise read "None" or nothing."""
    empty = [number for number, row in enumerate(rows, 1) if row.get(column) is None or not str(row[column]).strip()]
    if empty:
        shown = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
        raise InputError(
            f"{path.name}: {len(empty)} of {len(rows)} rows have no {column!r} (row {shown})",
            hint="a benchmark does not skip rows: fix or remove them",
        )


def _choices(columns: Sequence[str], taken: Sequence[str]) -> str | None:
    """The column of choices, or columns of one choice each (A, B, C; option1, option2; ...) as names joined by commas;
    None if there are none."""
    if name := next((name for name in _CHOICES if name in columns and name not in taken), None):
        return name
    series: dict[tuple[str, str], list[str]] = {}
    for column in columns:
        if column not in taken and (found := _NUMBERED.fullmatch(column)):
            kind = "digit" if found[2].isdigit() else "upper" if found[2].isupper() else "lower"
            series.setdefault((found[1], kind), []).append(column)
    for names in series.values():
        names.sort()
        places = [ord(name[-1]) for name in names]
        if len(names) > 1 and names[0][-1] in "Aa01" and places == list(range(places[0], places[0] + len(names))):
            return ",".join(names)
    return None


def _expression(rows: Sequence[Row], columns: Sequence[str], listed: str) -> str:
    """The choices as an expression: of a list, alone or as the text of a cell; of ARC's object of texts and labels; of
    an object with a choice to each letter; of columns, empty ones at the end left out."""
    if listed in columns:
        values = [row.get(listed) for row in rows]
        if all(_as_in_arc(value) for value in values):
            return f"{name_of(listed)}.text"
        if all(isinstance(value, dict) and len(value) > 1 for value in values):
            return f"{name_of(listed)}.values() | list"
        if all(isinstance(value, str) and isinstance(written(value), list) for value in values):
            return f"{name_of(listed)} | written"
        return name_of(listed)
    names = [name.strip() for name in listed.split(",")]
    if "[" in listed or len(names) < 2:
        return listed
    said = f"[{','.join(name_of(name) if name in columns else name for name in names)}]"
    gaps = any(row.get(name) is None or not str(row[name]).strip() for row in rows for name in names if name in columns)
    return f"{said} | filled" if gaps else said


def _as_in_arc(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), (list, tuple)) for key in ("text", "label"))


def _answers(value: Any) -> bool:
    """Whether a value is a list of right answers: of texts, or SQuAD's object of them."""
    value = value.get("text") if isinstance(value, dict) else value
    return isinstance(value, list) and bool(value) and all(isinstance(one, (str, int, float)) for one in value)


def _targets(rows: Sequence[Row], columns: Sequence[str], right: str, path: Path) -> tuple[str, Iterable[str]]:
    """(expression of the right answers to write, further columns it uses). Raises InputError for an object that does
    not say which of its parts they are."""
    values = [row.get(right) for row in rows]
    name = name_of(right) if right in columns else right
    objects = [value for value in values if isinstance(value, dict)]
    if objects and all(_answers(value) for value in values):  # SQuAD
        return f"{name}.text", ()
    if objects and all(isinstance(value, dict) and "value" in value for value in values):  # TriviaQA
        several = all(isinstance(value.get("aliases"), list) for value in objects)
        return (f"[{name}.value] + {name}.aliases" if several else f"{name}.value"), ()
    if objects:
        shown = ", ".join(map(str, objects[0]))
        raise InputError(f"{path.name}: {right!r} is an object with {shown}",
                         hint=f'name the part that is the right answer: --gold "{name}.PART"')  # fmt: skip
    for also in _ALIASES:
        if also in columns and not isinstance(values[0], list) and all(_optional(row.get(also)) for row in rows):
            return f"[{name}] + ({also} if {also} is defined and {also} else [])", (also,)
    return right if right not in columns else name, ()


def _optional(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def _refuse_either(rows: Sequence[Row], right: str, path: Path) -> None:
    """Raise InputError where `answers` may be choices as well as further right answers: the right one is always its
    first."""
    if all(isinstance(row.get("answers"), list) and row["answers"][:1] == [row.get(right)] for row in rows):
        raise InputError(
            f"{path.name}: 'answers' may be choices, or several right answers: the first is always {right!r}",
            hint="--choices answers if they are choices, --gold answers if each of them is right",
        )
