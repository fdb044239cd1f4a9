"""The schema of what another does not allow, where there is one without the keyword `not`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from tutelage.inference.json_schema.keywords import Schema
from tutelage.inference.json_schema.overlap import PART
from tutelage.inference.json_schema.patterns import pattern_without, without_pattern
from tutelage.inference.json_schema.values import KINDS, kind_of, kinds_of, type_of

_OPPOSITE = {
    "minimum": "exclusiveMaximum", "maximum": "exclusiveMinimum", "exclusiveMinimum": "maximum",
    "exclusiveMaximum": "minimum",
}  # fmt: skip
_SIZES = {"Length": "string", "Items": "array", "Properties": "object"}


class NoNegationError(Exception):
    """What cannot be negated, in words."""


def negation(schema: Schema, kinds: frozenset[str], definition: Callable[[str], Schema]) -> Schema:
    """Of the values of these kinds exactly those that do not fulfil the schema, which is one as `rewrite` makes it; of
    other kinds any. Raises NoNegationError."""
    if isinstance(schema, bool):
        return not schema
    if PART in schema:
        raise NoNegationError("it refers to itself")
    found: list[Schema] = []
    for keyword, value in schema.items():
        found += _unfulfilled(keyword, value, schema, kinds, definition)
    if True in found:
        return True
    kept = [one for one in found if one is not False]
    return {"anyOf": kept} if len(kept) > 1 else kept[0] if kept else False


def _unfulfilled(
    keyword: str, value: Any, node: dict[str, Any], kinds: frozenset[str], definition: Callable[[str], Schema]
) -> Iterator[Schema]:
    """Schemas of which one at least holds where this keyword does not."""
    if keyword == "type":
        yield _of_kinds(kinds - kinds_of(value))
    elif keyword in ("const", "enum"):
        yield from _other_values([value] if keyword == "const" else value, kinds)
    elif keyword in ("anyOf", "allOf"):
        each = [negation(one, kinds, definition) for one in value]
        if keyword == "allOf":
            yield from each
        elif False in each:
            yield False
        else:
            together = [one for one in each if one is not True]
            yield {"allOf": together} if together else True
    elif keyword == "$ref":
        yield negation(definition(value), kinds, definition)
    elif keyword == "required":
        if "object" in kinds:
            yield from ({"type": "object", "properties": {name: False}} for name in value)
    elif keyword == "properties":
        for name, one in value.items() if "object" in kinds else ():
            other = negation(one, KINDS, definition)
            if other is not False:
                yield {"type": "object", "properties": {name: other}, "required": [name]}
    elif keyword == "prefixItems":
        for at, one in enumerate(value if "array" in kinds else ()):
            other = negation(one, KINDS, definition)
            if other is not False:
                yield {"type": "array", "prefixItems": [*[True] * at, other], "minItems": at + 1}
    elif keyword in _OPPOSITE:
        yield from _numbers({_OPPOSITE[keyword]: value}, kinds)
    elif keyword == "pattern" and "string" in kinds and (others := without_pattern(value)) is not None:
        yield from ({"type": "string", **one} for one in others)
    elif keyword[:3] in ("min", "max") and keyword[3:] in _SIZES:
        kind, size = _SIZES[keyword[3:]], keyword[3:]
        if kind in kinds and (keyword.startswith("max") or value > 0):
            other = {f"max{size}": value - 1} if keyword.startswith("min") else {f"min{size}": value + 1}
            yield {"type": kind, **other}
    elif not _says_nothing(keyword, value, node, kinds):
        raise NoNegationError(f'what does not fulfil "{keyword}" cannot be expressed')


def _says_nothing(keyword: str, value: Any, node: dict[str, Any], kinds: frozenset[str]) -> bool:
    of = {"pattern": "string", "format": "string", "items": "array", "additionalProperties": "object",
          "patternProperties": "object"}  # fmt: skip
    if keyword == "multipleOf":
        return not kinds & {"integer", "fraction"}
    return value is True or (keyword in of and of[keyword] not in kinds)


def _of_kinds(kinds: frozenset[str]) -> Schema:
    if not kinds:
        return False
    types = type_of(kinds)
    if types is None:
        raise NoNegationError("numbers that are no integers cannot be expressed")
    return {"type": types[0] if len(types) == 1 else types}


def _numbers(bounds: dict[str, Any], kinds: frozenset[str]) -> Iterator[Schema]:
    theirs = kinds & {"integer", "fraction"}
    if theirs:
        of = _of_kinds(theirs)
        assert isinstance(of, dict)
        yield {**of, **bounds}


def _other_values(values: Sequence[Any], kinds: frozenset[str]) -> Iterator[Schema]:
    by_kind: dict[str, list[Any]] = {}
    for value in values:
        by_kind.setdefault(kind_of(value), []).append(value)
    given = sorted({one for kind in ("integer", "fraction") for one in by_kind.get(kind, ())})
    if given and kinds & {"integer", "fraction"}:
        yield from _numbers({"exclusiveMaximum": given[0]}, kinds)
        for low, high in pairwise(given):
            yield from _numbers({"exclusiveMinimum": low, "exclusiveMaximum": high}, kinds)
        yield from _numbers({"exclusiveMinimum": given[-1]}, kinds)
        kinds -= {"integer", "fraction"}
    untouched = frozenset(kind for kind in kinds if kind not in by_kind)
    if untouched:
        yield _of_kinds(untouched)
    for kind in sorted(kinds - untouched):
        theirs = by_kind[kind]
        if kind == "string":
            yield {"type": "string", "pattern": pattern_without(theirs)}
        elif kind == "boolean":
            left = [one for one in (True, False) if one not in theirs]
            if left:
                yield {"enum": left}
        elif kind in ("array", "object") and any(theirs):
            raise NoNegationError(f"all {kind}s but one cannot be expressed")
        elif kind in ("array", "object"):
            yield {"type": kind, "minItems" if kind == "array" else "minProperties": 1}
