"""Answer files: one JSON line per prompt, matched between systems by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.store.errors import InputError
from tutelage.store.hashing import sha256_text
from tutelage.store.jsonl import read_rows

_PROMPTS = ("prompt", "instruction", "question", "messages")
_ANSWERS = ("answer", "response", "output", "completion", "text")
_NAMES = ("model", "generator")


@dataclass(frozen=True)
class Item:
    """A prompt with the answers of all systems, in order; `id` is a hash of the prompt."""

    id: str
    prompt: str
    answers: tuple[str, ...]
    reference: str | None = None


@dataclass(frozen=True)
class Matched:
    """names: of the systems. items: prompts that all of them answered. left_out: number of other prompts per system."""

    names: tuple[str, ...]
    items: tuple[Item, ...]
    left_out: dict[str, int]


def read_answers(paths: Sequence[Path]) -> Matched:
    """Match answer files by prompt.

    A row has a prompt (`prompt`, `instruction`, `question`, or `messages`, the last of which is the question), an
    answer (`answer`, `response`, `output`, `completion` or `text`) and may have a `reference`. The system's name is the
    `model` or `generator` of its rows, else the file name. Raises InputError for a row without these, a duplicate
    prompt, or files without a common prompt.
    """
    found: list[dict[str, tuple[str, str, str | None]]] = []
    names: list[str] = []
    for path in paths:
        rows = read_rows(path)
        if not rows:
            raise InputError(f"{path} has no rows")
        mine: dict[str, tuple[str, str, str | None]] = {}
        for line, row in enumerate(rows, 1):
            prompt, answer = _prompt(row, path, line), _first(row, _ANSWERS, path, line)
            key = sha256_text(prompt)[:16]
            if key in mine:
                raise InputError(f"{path}, row {line}: duplicate prompt: {prompt[:60]!r}")
            reference = row.get("reference")
            mine[key] = (prompt, answer, reference if isinstance(reference, str) else None)
        found.append(mine)
        said = {str(row[name]) for row in rows for name in _NAMES if row.get(name)}
        names.append(said.pop() if len(said) == 1 else path.stem)
    if len(set(names)) < len(names):
        names = (
            [path.stem for path in paths] if len({path.stem for path in paths}) == len(paths) else list(map(str, paths))
        )
    shared = [key for key in found[0] if all(key in other for other in found)]
    if not shared:
        raise InputError(
            f"{' and '.join(map(str, paths))} have no prompt in common", hint="answers are matched by the exact prompt"
        )
    items = tuple(
        Item(key, found[0][key][0], tuple(one[key][1] for one in found),
             next((one[key][2] for one in found if one[key][2] is not None), None))
        for key in shared
    )  # fmt: skip
    left = {name: len(mine) - len(shared) for name, mine in zip(names, found, strict=True)}
    return Matched(tuple(names), items, {name: count for name, count in left.items() if count})


def _prompt(row: dict[str, Any], path: Path, line: int) -> str:
    turns = row.get("messages")
    if "prompt" not in row and isinstance(turns, list) and turns and isinstance(turns[-1], dict):
        return "\n\n".join(str(turn.get("content", "")) for turn in turns if turn.get("role") != "assistant")
    return _first(row, _PROMPTS, path, line)


def _first(row: dict[str, Any], names: Sequence[str], path: Path, line: int) -> str:
    for name in names:
        if isinstance(row.get(name), str):
            return str(row[name])
    raise InputError(f"{path}, row {line}: no {names[0]}", hint=f"one of the keys {', '.join(names)} with a text")
