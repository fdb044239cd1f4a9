"""Convert the rows of a task to items with requests for a model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.evaluation.bench.protocol import Ask, Pair, Request, Roll
from tutelage.evaluation.bench.sources import Row, read_rows, row_sha256
from tutelage.evaluation.bench.task import BenchTask
from tutelage.evaluation.bench.templates import text_of, value_of
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.hashing import sha256_json

_FEWSHOT_SEED = 1234  # lm-evaluation-harness's seed, to draw the same random examples


@dataclass(frozen=True)
class Item:
    """One question. pairs: one per choice; shown: the texts of the choices, whose length normalises scores.

    blind: the same choices without the question; None if that makes no difference.
    """

    id: str
    row: Row
    group: str | None = None
    cluster: str | None = None
    pairs: tuple[Pair, ...] = ()
    shown: tuple[str, ...] = ()
    gold: tuple[int, ...] = ()
    blind: tuple[Pair, ...] | None = None
    roll: Roll | None = None
    ask: Ask | None = None
    targets: tuple[str, ...] = ()

    def requests(self, blind: bool) -> list[Request]:
        single: list[Request] = [request for request in (self.roll, self.ask) if request is not None]
        return [*self.pairs, *(self.blind or () if blind else ()), *single]


@dataclass(frozen=True)
class Prepared:
    """A task with its items, ready to run. total: number of rows before any limit."""

    task: BenchTask
    items: list[Item]
    total: int
    data_sha256: str
    prompt_sha256: str
    notes: list[str] = field(default_factory=list)


def prepare(task: BenchTask, folders: Sequence[Path], limit: int | None = None, shots: int | None = None) -> Prepared:
    """Read a task's rows and build its items. shots: overrides the task's number of few-shot examples.

    Raises InputError for missing data or a row that does not fit, naming it; ConfigError for shots without examples.
    """
    if shots is not None:
        if shots and task.fewshot is None:
            raise ConfigError(f"task {task.name} defines no few-shot examples", hint="leave --shots out")
        task = task.with_(shots=shots)
    rows, digest = read_rows(task.data, folders, task.name)
    chosen = _limited(task, rows, limit)
    examples = _Examples(task, folders)
    items, seen = [], dict[str, int]()
    for row in chosen:
        name = _identity(task, row, seen)
        items.append(_item(task, row, name, examples.before(row, name)))
    prompt = sha256_json({"task": task.identity, "examples": examples.digest})
    return Prepared(task, items, len(rows), digest, prompt)


def _limited(task: BenchTask, rows: list[Row], limit: int | None) -> list[Row]:
    """The first rows; for a task with groups, equally many of each."""
    if limit is None or limit >= len(rows):
        return rows
    if task.group is None:
        return rows[:limit]
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(str(value_of(task.group, row, f"{task.name}, group")), []).append(number)
    turns = [(turn, number) for members in groups.values() for turn, number in enumerate(members)]
    return [rows[number] for number in sorted(number for _, number in sorted(turns)[:limit])]


def _identity(task: BenchTask, row: Row, seen: dict[str, int]) -> str:
    """A row's id, independent of its source: its own id, or a hash of its content."""
    name = str(value_of(task.id, row, f"{task.name}, id")) if task.id else row_sha256(row)[:12]
    seen[name] = seen.get(name, 0) + 1
    return name if seen[name] == 1 else f"{name}-{seen[name]}"


def _item(task: BenchTask, row: Row, name: str, before: str) -> Item:
    where = f"{task.name}, item {name}"
    group = None if task.group is None else str(value_of(task.group, row, where))
    cluster = None if task.cluster is None else str(value_of(task.cluster, row, where))
    common: dict[str, Any] = {"id": name, "row": row, "group": group, "cluster": cluster}
    if task.kind == "rolling":
        return Item(**common, roll=Roll(text_of(task.text or "", row, where), task.overlap))
    if task.kind == "generate":
        targets = () if task.targets is None else _texts(value_of(task.targets, row, where))
        ask = Ask(before + text_of(task.context, row, where), tuple(task.until), task.max_tokens, task.chat)
        return Item(**common, ask=ask, targets=targets)
    if task.kind == "likelihood":
        continuation = text_of(task.continuation or "", row, where)
        pair = Pair(before + text_of(task.context, row, where), task.delimiter + continuation)
        return Item(**common, pairs=(pair,), shown=(continuation,), gold=(0,))
    return _choice_item(task, row, where, before, common)


def _choice_item(task: BenchTask, row: Row, where: str, before: str, common: dict[str, Any]) -> Item:
    choices = choices_of(task, row, where)
    gold = _gold(task, row, where, choices)
    blind: tuple[Pair, ...] | None
    if task.contexts is not None:
        after = task.delimiter + text_of(task.continuation or "", row, where)
        pairs = tuple(Pair(before + choice, after) for choice in choices)
        blind = tuple(Pair("", task.delimiter + choice) for choice in choices)
    else:
        context = before + text_of(task.context, row, where)
        pairs = tuple(Pair(context, task.delimiter + choice) for choice in choices)
        blind = tuple(Pair("", task.delimiter + choice) for choice in choices) if context else None
    for pair in pairs:
        if not pair.continuation.strip():
            raise InputError(f"{where}: a choice is empty")
    return Item(**common, pairs=pairs, shown=tuple(choices), gold=gold, blind=blind)


def choices_of(task: BenchTask, row: Row, where: str) -> list[str]:
    """The texts of the choices (for `contexts`: the contexts). Raises InputError for fewer than two."""
    given = task.contexts if task.contexts is not None else task.choices
    found = list(given) if isinstance(given, list) else value_of(given or "", row, where)
    if isinstance(found, str) or not isinstance(found, (list, tuple)) or len(found) < 2:
        raise InputError(f"{where}: `{given}` does not evaluate to a list of two or more choices")
    if task.choice is None:
        return [str(choice) for choice in found]
    return [text_of(task.choice, {**row, "choice": choice}, where) for choice in found]


def _gold(task: BenchTask, row: Row, where: str, choices: list[str]) -> tuple[int, ...]:
    value = task.gold if isinstance(task.gold, int) else value_of(task.gold or "", row, where)
    gold = tuple(_index(one, choices, where) for one in (value if isinstance(value, (list, tuple)) else (value,)))
    if not gold or not all(0 <= one < len(choices) for one in gold):
        raise InputError(f"{where}: the right answer has index {value}, but there are {len(choices)} choices")
    return gold


def _index(value: Any, choices: list[str], where: str) -> int:
    if isinstance(value, str) and value in choices:
        return choices.index(value)
    try:
        return int(value)
    except (TypeError, ValueError):
        raise InputError(f"{where}: the right answer {value!r} is none of the choices") from None


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, (list, tuple)) else (str(value),)


class _Examples:
    """The part of a prompt before the question: the description and the few-shot examples."""

    def __init__(self, task: BenchTask, folders: Sequence[Path]) -> None:
        self.task, self.rows, self.digest = task, list[Row](), ""
        if task.shots and task.fewshot is not None:
            self.rows, self.digest = read_rows(task.fewshot.data, folders, f"{task.name} (examples)")
        self.draw = random.Random(_FEWSHOT_SEED)

    def before(self, row: Row, name: str) -> str:
        task = self.task
        begin = text_of(task.description, row, f"{task.name}, description")
        if not task.shots or task.fewshot is None:
            return begin
        pool = self.rows
        if task.fewshot.match is not None:
            pool = [one for one in pool if one[task.fewshot.match] == row[task.fewshot.match]]
        if len(pool) < task.shots:
            raise InputError(f"{task.name}, item {name}: only {len(pool)} examples for {task.shots} shots")
        chosen = self.draw.sample(pool, task.shots) if task.fewshot.sampler == "random" else pool[: task.shots]
        return begin + "".join(self._shown(one) + "\n\n" for one in chosen)

    def _shown(self, row: Row) -> str:
        task, where = self.task, f"{self.task.name}, an example"
        question = text_of(task.context, row, where)
        if task.kind == "choice":
            choices = choices_of(task, row, where)
            right = choices[_gold(task, row, where, choices)[0]]
            if task.contexts is not None:
                return right + task.delimiter + text_of(task.continuation or "", row, where)
            return question + task.delimiter + right
        return question + task.delimiter + text_of(task.continuation or "", row, where)
