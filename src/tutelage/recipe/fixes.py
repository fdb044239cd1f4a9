"""Advice applied to a recipe: its fixes, repeated until none is left, as plain data and as a diff."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tutelage.recipe.config import Recipe, override
from tutelage.store.errors import TutelageError

ROUNDS = 8  # one fix may make another necessary (fewer steps, a shorter warm-up)
_SET = re.compile(r"--set (\S+=\{[^}]*\}|\S+)")


@dataclass(frozen=True)
class Fixed:
    """The recipe's data with all fixes, what was set, and the fixes that contradict the rest of the recipe."""

    data: dict[str, Any]
    sets: tuple[str, ...]
    refused: tuple[str, ...]


def apply_fixes(data: dict[str, Any], fixes_of: Callable[[Recipe], Sequence[str]]) -> Fixed:
    """Apply the fixes (`--set a=b --set c=d`) that `fixes_of` names, until it names no new one.

    `data`: what the recipe file says; keys that no fix touches stay as they are, defaults are not written out.
    """
    fixed, done, refused = copy.deepcopy(data), dict[str, str](), list[str]()
    for _ in range(ROUNDS):
        before = copy.deepcopy(fixed)
        for fix in fixes_of(Recipe.parse(fixed)):
            tried = copy.deepcopy(fixed)
            sets = _SET.findall(fix)
            try:
                for item in sets:
                    override(tried, item)
                Recipe.parse(tried)
            except TutelageError as error:
                if f"{fix}: {error.message}" not in refused:
                    refused.append(f"{fix}: {error.message}")
                continue
            fixed = tried
            done |= {item.partition("=")[0]: item for item in sets}
        if fixed == before:
            break
    return Fixed(fixed, tuple(done.values()), tuple(refused))


def written(data: dict[str, Any]) -> str:
    """Recipe data as YAML, in the order it was given in."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def difference(before: dict[str, Any], after: dict[str, Any], old: str, new: str) -> str:
    """A unified diff of the two as YAML."""
    lines = difflib.unified_diff(
        written(before).splitlines(keepends=True), written(after).splitlines(keepends=True), old, new, n=2
    )
    return "".join(lines)
