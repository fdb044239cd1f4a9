"""What a rule and its advice are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["note", "warning", "error"]
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Advice:
    """What a rule has to say. `fix` is a `--set` of the command line, or empty."""

    level: Level
    rule: str
    message: str
    fix: str
    source: str


Finding = tuple[Level, str, str]  # level, message, fix


@dataclass(frozen=True)
class Rule:
    """A rule of thumb. `find` gets the facts and returns what is wrong, None if nothing is or a fact is missing."""

    id: str
    stage: str
    says: str
    source: str
    find: Callable[[Facts], Finding | None]

    def check(self, facts: Facts) -> Advice | None:
        try:
            found = self.find(facts)
        except KeyError:  # a fact that this rule needs is not known
            return None
        return None if found is None else Advice(found[0], self.id, found[1], found[2], self.source)
