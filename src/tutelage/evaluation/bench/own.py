"""Build a task from a user's own rows without a task file: columns are given or detected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage.evaluation.bench.sources import Row, read_file
from tutelage.evaluation.bench.task import BenchTask
from tutelage.evaluation.bench.templates import value_of
from tutelage.store.errors import ConfigError, InputError

_QUESTIONS = ("question", "query", "prompt", "context", "ctx", "instruction", "input", "text", "sentence", "goal")
_CHOICES = ("choices", "options", "endings", "answers", "candidates")
_GOLD = ("answer", "label", "gold", "target", "correct", "answerKey", "answer_key", "output", "response")
_NUMBERED = re.compile(r"(?i)((?:option|choice|answer|ending|opt?|sol|candidate)?[ _]?)([a-j]|[0-9])")
_FEW = 10  # with fewer rows, it is unremarkable that the first choice is never right


def own_task(path: Path, context: str | None = None, choices: str | None = None, gold: str | None = None) -> BenchTask:
    """A task from the rows of a file (JSON lines, CSV, TSV, Parquet), or from a text, for bits per byte.

    context: a column or a template ("Question: {{q}}\\nAnswer:"). choices: a column with a list, or several columns
    ("a,b,c"). gold: the column with the right one: its number from 0, its letter, or its text. Columns that are not
    given are detected by name. Rows with a right answer and no choices become generation items; rows with only text are
    scored as text. Raises InputError, naming the columns, if detection fails, if a row lacks its question or right
    answer, or if that answer is ambiguous.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist")
    rows = read_file(path)
    if not rows:
        raise InputError(f"{path} has no rows")
    columns = list(rows[0])
    common = {
        "name": path.name.split(".")[0],
        "title": f"own rows of {path.name}",
        "data": {"sources": [{"file": str(path.absolute())}]},
    }
    if columns == ["text"] or (context is None and choices is None and gold is None and _only_text(columns)):
        return BenchTask.parse({**common, "kind": "rolling", "text": "{{text}}", "metric": "bits_per_byte"})
    asked = context or _asked(columns, path)
    right = gold or _known(_GOLD, columns, path, "--gold")
    for column in (asked, right):
        _refuse_empty(rows, column, path)
    template = asked if "{" in asked else "{{" + asked + "}}"
    listed = choices or _choices(rows, columns, (asked, right))
    if listed is None:
        unread = [name for name in columns if name not in right and name not in asked]
        cautions = [f"unused columns: {', '.join(unread)}"] if unread else []
        return BenchTask.parse({
            **common, "kind": "generate", "context": template, "targets": right, "until": ["\n"], "max_tokens": 64,
            "metric": "exact", "cautions": cautions,
        })  # fmt: skip
    if "," in listed and "[" not in listed:
        listed = "[" + listed + "]"
    expression, cautions = _gold(rows, listed, right, path)
    return BenchTask.parse({
        **common, "kind": "choice", "context": template, "choices": listed, "gold": expression, "metric": "acc_norm",
        "cautions": cautions,
    })  # fmt: skip


def _only_text(columns: list[str]) -> bool:
    return "text" in columns and not any(name in columns for name in (*_CHOICES, *_GOLD))


def _asked(columns: list[str], path: Path) -> str:
    """The column of the question; for instructions with an input (Alpaca), a template of both."""
    lower = {name.lower(): name for name in columns}
    if "instruction" in lower and "input" in lower:
        more = lower["input"]
        return "{{" + lower["instruction"] + "}}{% if " + more + " %}\n{{" + more + "}}{% endif %}"
    return _known(_QUESTIONS, columns, path, "--context")


def _known(names: tuple[str, ...], columns: list[str], path: Path, option: str) -> str:
    lower = {column.lower(): column for column in reversed(columns)}
    found = next((name if name in columns else lower[name.lower()] for name in names if name.lower() in lower), None)
    if found is None:
        raise InputError(
            f"{path.name}: no column was recognised among: {', '.join(columns)}", hint=f"name it with {option}"
        )
    return found


def _refuse_empty(rows: Sequence[Row], column: str, path: Path) -> None:
    """Raise InputError if a column is empty in some rows, which would otherwise read "None" or nothing."""
    empty = [number for number, row in enumerate(rows, 1) if row.get(column) is None or not str(row[column]).strip()]
    if column in rows[0] and empty:
        shown = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
        raise InputError(
            f"{path.name}: {len(empty)} of {len(rows)} rows have no {column!r} (row {shown})",
            hint="a benchmark does not skip rows: fix or remove them",
        )


def _choices(rows: Sequence[Row], columns: Sequence[str], taken: Sequence[str]) -> str | None:
    """The column of choices (a list, or ARC's object of texts and labels), or columns of one choice each (A, B, C;
    option1, option2; ...) as an expression; None if there are none."""
    if name := next((name for name in _CHOICES if name in columns and name not in taken), None):
        return f"{name}.text" if all(_as_in_arc(row.get(name)) for row in rows) else name
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


def _as_in_arc(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), (list, tuple)) for key in ("text", "label"))


def _gold(rows: Sequence[Row], listed: str, right: str, path: Path) -> tuple[str, list[str]]:
    """The expression of the right choice's index or text, and notes on it.

    Whether a number is a choice's text, or its index from 0 or from 1, is decided over all rows together. Raises
    InputError if it is ambiguous.
    """
    if right not in rows[0]:  # a user-defined expression
        return right, []
    where = f"{path.name}, row "
    texts = []
    for number, row in enumerate(rows, 1):
        found = value_of(listed, row, f"{where}{number}")
        if isinstance(found, str) or not isinstance(found, (list, tuple)) or len(found) < 2:
            raise InputError(
                f"{where}{number}: {listed!r} does not evaluate to a list of two or more choices",
                hint="in a table, each choice has its own column (A, B, C); lists require .jsonl, .json or .parquet",
            )
        texts.append([str(one) for one in found])
    given = [row.get(right) for row in rows]
    if any(isinstance(value, (list, tuple)) for value in given):
        return right, []
    label = listed.removesuffix(".text") + ".label"
    if listed.endswith(".text") and all(
        value in value_of(label, row, path.name) for value, row in zip(given, rows, strict=True)
    ):
        return f"{label}.index({right})", []
    said = _said_twice(texts)
    by_text = all(str(value) in there for value, there in zip(given, texts, strict=True))
    numbers = [_whole(value) for value in given]
    counted = [number for number in numbers if number is not None]
    if len(counted) == len(rows):
        first = _first(counted, [len(there) for there in texts])
        places = [number - first for number in counted]
        inside = all(0 <= place < len(there) for place, there in zip(places, texts, strict=True))
        agree = inside and all(
            there[place] == str(value) for place, there, value in zip(places, texts, given, strict=True)
        )
        if by_text and inside and not agree and not all(isinstance(value, str) for value in given):
            raise InputError(
                f"{path.name}: {right!r} may be the text of the right choice or its number",
                hint=f'set one: --gold "{right}|string" (its text) or --gold "{right}|int" (its number from 0)',
            )
        if by_text:
            return f"{right}|string", said
        if first:
            return f"{right}|int - 1", [*said, f"{right!r} counts the choices from 1"]
        if min(counted) > 0 and len(rows) >= _FEW:
            said.append(f"the first choice is never the right answer: {right!r} is read as an index from 0")
        return right, said
    letters = all(isinstance(value, str) and re.fullmatch("[A-Za-z]", value.strip()) for value in given)
    if letters and not by_text:
        return f"'ABCDEFGHIJKLMNOPQRSTUVWXYZ'.index({right} | trim | upper)", said
    return right, said


def _first(numbers: Sequence[int], sizes: Sequence[int]) -> int:
    """1 if the choice numbers must count from 1: none is 0, and one equals the number of choices; else 0."""
    inside = all(1 <= number <= size for number, size in zip(numbers, sizes, strict=True))
    return int(inside and any(number == size for number, size in zip(numbers, sizes, strict=True)))


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return int(value)
    try:
        return int(str(value).strip())
    except ValueError:
        return int(value) if isinstance(value, float) and value.is_integer() else None


def _said_twice(texts: Sequence[Sequence[str]]) -> list[str]:
    count = sum(len(set(there)) < len(there) for there in texts)
    return [f"{count} of {len(texts)} rows have the same choice twice; the first one counts"] if count else []
