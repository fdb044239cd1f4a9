"""Values and kinds of values: what a schema says of them, as far as that is certain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

KINDS = frozenset(("null", "boolean", "integer", "fraction", "string", "array", "object"))
"""Every value is of one of them: a number is an integer (3.0 is one) or a fraction."""


def kinds_of(types: str | list[str]) -> frozenset[str]:
    """The kinds of what `type` allows."""
    named = [types] if isinstance(types, str) else types
    return frozenset(kind for one in named for kind in (("integer", "fraction") if one == "number" else (one,)))


def kind_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if isinstance(value, int) or value.is_integer() else "fraction"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def type_of(kinds: Iterable[str]) -> list[str] | None:
    """`type` of exactly these kinds; None for fractions without integers, which there is no word for."""
    found = set(kinds)
    if "fraction" in found:
        if "integer" not in found:
            return None
        found = (found - {"integer", "fraction"}) | {"number"}
    return sorted(found)


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: 1 is 1.0, and True is neither."""
    if kind_of(one) != kind_of(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    return bool(one == other)


def distinct(values: Iterable[Any]) -> list[Any]:
    """The values without those that are there already."""
    kept: list[Any] = []
    for value in values:
        if not any(same(value, one) for one in kept):
            kept.append(value)
    return kept
