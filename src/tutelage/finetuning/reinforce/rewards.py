"""Verifiable rewards: pure functions of an answer and the gold answer. Answers are never executed as code.

Each score is in 0 to 1 (`length`: a penalty in 0 to -1); the reward is their weighted sum.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from pydantic import Field

from tutelage.finetuning.reinforce.patterns import matches
from tutelage.store.config import Config
from tutelage.store.errors import ConfigError, InputError, nearest
from tutelage.tasks import task

Row = Mapping[str, Any]

GOLD = (
    "answer",
    "response",
    "solution",
    "ground_truth",
    "gold",
    "target",
    "final_answer",
    "label",
    "output",
    "completion",
)
"""Usual names of the gold column, in order of precedence."""

_NUMBER = re.compile(r"[-+−]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+)?(?:/\d+)?(?:[eE][-+]?\d{1,3})?%?")
_MARKED = re.compile(r"####|\\boxed\{|answer\s*(?:is|:|=)|<answer>", re.IGNORECASE)
_CHOICE = re.compile(r"(?<![A-Za-z0-9])\(?([A-Z])\)?(?![A-Za-z0-9'’])")


class RewardConfig(Config):
    """One part of the reward. `column`: the gold column of the row (empty: the first of the usual names).

    `rule`:
    - `exact`: the answer equals the gold text, ignoring case and white space.
    - `numeric`: its final number equals that of the gold text, within `tolerance`.
    - `contains`: it contains the gold text as whole words.  `choice`: its last letter is the gold one.
    - `regex`: `pattern` matches somewhere in it.  `format`: it contains `parts`, each once and in this order.
    - `length`: 0 up to `limit` - `cushion` tokens, then falling to -1 at `limit` (DAPO, eq. 13).
    - `ends`: it ends with the end token, before `max_tokens`.
    - `task`: the score by the task's own rule.
    """

    rule: Literal["exact", "numeric", "contains", "choice", "regex", "format", "length", "ends", "task"]
    weight: float = 1.0
    column: str = ""
    tolerance: float = Field(1e-6, ge=0)
    pattern: str = ""
    parts: tuple[str, ...] = ()
    limit: int = Field(0, ge=0)
    cushion: int = Field(0, ge=0)


@dataclass(frozen=True)
class Answer:
    """An answer of the model: text without control tokens, number of tokens, whether it ended with the end token."""

    text: str
    tokens: int
    ended: bool


def check_rewards(rewards: Mapping[str, RewardConfig], task_name: str | None) -> None:
    """Raises ValueError for a reward with a missing setting, or with one that its rule does not use."""
    for name, one in rewards.items():
        for key, rule in (("pattern", "regex"), ("parts", "format"), ("limit", "length")):
            if (one.rule == rule) != bool(getattr(one, key)):
                has = "needs" if one.rule == rule else "does not use"
                raise ValueError(f"rewards.{name}: rule {one.rule} {has} {key!r}")
        if one.cushion > one.limit:
            raise ValueError(f"rewards.{name}: cushion is above limit")
        if one.rule == "regex":
            try:
                re.compile(one.pattern)
            except re.error as error:
                raise ValueError(f"rewards.{name}.pattern: {error}") from None
        if one.rule == "task" and (task_name is None or task(task_name).grade is None):
            raise ValueError(f"rewards.{name}: rule task needs a task with a grading rule; task is {task_name!r}")


def needs_gold(one: RewardConfig) -> bool:
    return one.rule in ("exact", "numeric", "contains", "choice")


def default_rewards(rows: Sequence[Row], task_name: str | None) -> dict[str, RewardConfig]:
    """The default rewards: the task's own rule; or `numeric` if every gold text is a number or marks one (`#### 7`,
    `\\boxed{7}`), else `exact`.
    """
    if task_name is not None and task(task_name).grade is not None:
        return {"rule": RewardConfig(rule="task")}
    golds = [gold_of(row, "") for row in rows if has_gold(row)]
    if rows and not golds:
        gold_of(rows[0], "")  # raises and names the columns
    numeric = all(final_number(gold) is not None and (_is_number(gold) or _MARKED.search(gold)) for gold in golds)
    return {"correct": RewardConfig(rule="numeric" if numeric else "exact")}


def check_gold(rewards: Mapping[str, RewardConfig], rows: Sequence[Row]) -> None:
    """Raises InputError for a row without the gold answer that a reward needs, before any long work."""
    for name, one in rewards.items():
        for row in rows if needs_gold(one) else ():
            gold = gold_of(row, one.column)
            if one.rule == "numeric" and final_number(gold) is None:
                raise InputError(
                    f"rewards.{name}: {gold[:60]!r} contains no number", hint="use rule exact, or another column"
                )
            if one.rule == "choice" and _letter(gold) is None:
                raise InputError(
                    f"rewards.{name}: {gold[:60]!r} names no letter", hint="a choice is one of A, B, C, ..."
                )


def ungradable(rewards: Mapping[str, RewardConfig], row: Row) -> str:
    """Why an answer to this row cannot be graded; empty if it can."""
    for one in rewards.values():
        if not needs_gold(one):
            continue
        if not has_gold(row, one.column):
            return f"no gold answer{f' ({one.column!r} is empty)' if one.column else ''}"
        gold = gold_of(row, one.column)
        if one.rule == "numeric" and final_number(gold) is None:
            return "the gold answer contains no number"
        if one.rule == "choice" and _letter(gold) is None:
            return "the gold answer names no letter"
    return ""


def has_gold(row: Row, column: str = "") -> bool:
    names = (column,) if column else GOLD
    return any(row.get(name) is not None and str(row[name]).strip() for name in names)


def gold_of(row: Row, column: str) -> str:
    """The gold answer of the row. Raises InputError if there is none."""
    names = (column,) if column else GOLD
    for name in names:
        value = row.get(name)
        if value is not None and str(value).strip():
            return str(value).strip()
    there = [name for name in row if name not in ("id", "prompt", "messages")]
    if column:
        raise InputError(f"a row has no {column!r} to compare with", hint=nearest(column, there))
    raise InputError(
        "a row has no gold answer",
        hint=f"set rewards.NAME.column to its column; the columns are {', '.join(there) or 'none'}",
    )


def scores(
    rewards: Mapping[str, RewardConfig], answers: Sequence[Answer], rows: Sequence[Row], task_name: str | None = None
) -> dict[str, list[float]]:
    """The score of each answer by each reward, unweighted. `rows`: the problem of each answer."""
    found = {}
    for name, one in rewards.items():
        if one.rule == "regex":
            found[name] = [float(hit) for hit in matches(one.pattern, [answer.text for answer in answers])]
        else:
            found[name] = [_score(one, answer, row, task_name) for answer, row in zip(answers, rows, strict=True)]
    return found


def total(rewards: Mapping[str, RewardConfig], found: Mapping[str, Sequence[float]]) -> list[float]:
    """The weighted sum of the scores of each answer."""
    parts = [[one.weight * value for value in found[name]] for name, one in rewards.items()]
    return [sum(values) for values in zip(*parts, strict=True)]


def _score(one: RewardConfig, answer: Answer, row: Row, task_name: str | None) -> float:
    text = answer.text
    if one.rule == "ends":
        return float(answer.ended)
    if one.rule == "length":
        return overlong(answer.tokens, one.limit, one.cushion)
    if one.rule == "format":
        return float(has_parts(text, one.parts))
    if one.rule == "task":
        if task_name is None or (grade := task(task_name).grade) is None:
            raise ConfigError("a reward has rule task, but the task has no grading rule")
        return float(grade(text.strip(), dict(row)).score)
    gold = gold_of(row, one.column)
    if one.rule == "exact":
        return float(normalised(text) == normalised(gold))
    if one.rule == "numeric":
        return float(same_number(text, gold, one.tolerance))
    if one.rule == "choice":
        return float(_letter(text) is not None and _letter(text) == _letter(gold))
    return float(contains(text, gold))


def normalised(text: str) -> str:
    return " ".join(text.casefold().split())


def contains(text: str, gold: str) -> bool:
    """Whether the text contains the gold text as whole words, ignoring case."""
    text, gold = normalised(text), normalised(gold)
    at = text.find(gold)
    while gold and at >= 0:
        before, after = text[at - 1 : at], text[at + len(gold) : at + len(gold) + 1]
        if not (before.isalnum() and gold[0].isalnum()) and not (after.isalnum() and gold[-1].isalnum()):
            return True
        at = text.find(gold, at + 1)
    return False


def has_parts(text: str, parts: Sequence[str]) -> bool:
    """Whether every part occurs in the text exactly once, in this order."""
    at = 0
    for part in parts:
        place = text.find(part)
        if text.count(part) != 1 or place < at:
            return False
        at = place + len(part)
    return True


def overlong(tokens: int, limit: int, cushion: int) -> float:
    """0 up to `limit - cushion` tokens, then falling linearly to -1 at `limit` (Yu et al. 2025, eq. 13)."""
    if tokens <= limit - cushion:
        return 0.0
    return max(-1.0, (limit - cushion - tokens) / cushion) if cushion else -1.0


def final_number(text: str) -> Decimal | None:
    """The final number of a text: the one after its last `####`, `\\boxed{`, "answer is" or `<answer>`, else the last.

    Thousands separators, currency and percent signs, fractions, exponents and the typographic minus sign are parsed;
    `1/0` and numbers of more than 50 digits are rejected.
    """
    marks = list(_MARKED.finditer(text))
    if marks:
        after = text[marks[-1].end() :]
        if (first := _numbers(after[:200])) and first[0] is not None:
            return first[0]
    found = _numbers(text[-2000:])
    return found[-1] if found else None


def same_number(text: str, gold: str, tolerance: float = 0.0) -> bool:
    one, other = final_number(text), final_number(gold)
    if one is None or other is None:
        return False
    return abs(one - other) <= Decimal(str(tolerance)) * max(Decimal(1), abs(other))


def _numbers(text: str) -> list[Decimal | None]:
    """All numbers of a text in order; None for an invalid one (1/0)."""
    found: list[Decimal | None] = []
    for match in _NUMBER.finditer(text):
        if any(character.isdigit() for character in match.group()):
            # "x-3" is a subtraction and "10-12" a range, but "= -3" a negative number.
            before = text[match.start() - 1 : match.start()]
            raw = match.group()
            if raw[0] in "-+−" and (before.isalnum() or before == ")"):
                raw = raw[1:]
            found.append(_value(raw))
    return found


def _value(raw: str) -> Decimal | None:
    if len(raw) > 50:
        return None
    plain = raw.replace("−", "-").replace(",", "").rstrip("%")
    top, _, bottom = plain.partition("/")
    try:
        return Decimal(top) / Decimal(bottom) if bottom else Decimal(top)
    except (InvalidOperation, ArithmeticError):
        return None


def _is_number(text: str) -> bool:
    """Whether a text is a single number, at most with a currency or unit."""
    return len(_numbers(text)) == 1 and len(text.split()) <= 2


def _letter(text: str) -> str | None:
    """The letter a text chooses: after the last answer marker, else the last single letter."""
    marks = list(_MARKED.finditer(text))
    if marks and (after := _CHOICE.search(text[marks[-1].end() :])):
        return after.group(1)
    found = _CHOICE.findall(text)
    return found[-1] if found else None
