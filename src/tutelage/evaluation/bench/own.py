"""A task made of a user's own rows, without a task file: the columns are named, or recognised."""

from __future__ import annotations

from pathlib import Path

from tutelage.evaluation.bench.sources import read_file
from tutelage.evaluation.bench.task import BenchTask
from tutelage.store.errors import ConfigError, InputError

_QUESTIONS = ("question", "query", "prompt", "context", "ctx", "input", "text", "sentence", "goal")
_CHOICES = ("choices", "options", "endings", "answers", "candidates")
_GOLD = ("answer", "label", "gold", "target", "correct", "answerKey", "output", "response")


def own_task(path: Path, context: str | None = None, choices: str | None = None, gold: str | None = None) -> BenchTask:
    """A task of the rows of a file (JSON lines, CSV, TSV, Parquet), or of a text, whose bits per byte are wanted.

    context: a column or a template ("Question: {{q}}\\nAnswer:"). choices: a column with a list, or several columns
    ("a,b,c"). gold: the column with the right one: its number from 0, its letter, or its text. What is not given is
    recognised by its name. Rows with a right answer and no choices are answered by writing; rows of text alone are
    read as text. Raises InputError where that does not work, naming the columns there are.
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
    asked = context or _known(_QUESTIONS, columns, path, "--context")
    right = gold or _known(_GOLD, columns, path, "--gold")
    template = asked if "{" in asked else "{{" + asked + "}}"
    listed = choices or next((name for name in _CHOICES if name in columns), None)
    if listed is None:
        return BenchTask.parse(
            {
                **common,
                "kind": "generate",
                "context": template,
                "targets": right,
                "until": ["\n"],
                "max_tokens": 64,
                "metric": "exact",
            }
        )
    if "," in listed and "[" not in listed:
        listed = "[" + listed + "]"
    letters = all(isinstance(row.get(right), str) and len(row[right]) == 1 and row[right].isalpha() for row in rows)
    texts = isinstance(rows[0].get(listed), list) and any(row.get(right) in row[listed] for row in rows)
    by_letter = f"'ABCDEFGHIJKLMNOPQRSTUVWXYZ'.index({right} | upper)"
    return BenchTask.parse(
        {
            **common,
            "kind": "choice",
            "context": template,
            "choices": listed,
            "gold": by_letter if letters and not texts else right,
            "metric": "acc_norm",
        }
    )


def _only_text(columns: list[str]) -> bool:
    return "text" in columns and not any(name in columns for name in (*_CHOICES, *_GOLD))


def _known(names: tuple[str, ...], columns: list[str], path: Path, option: str) -> str:
    found = next((name for name in names if name in columns), None)
    if found is None:
        raise InputError(
            f"{path.name}: no column is recognised; it has: {', '.join(columns)}", hint=f"name it with {option}"
        )
    return found
