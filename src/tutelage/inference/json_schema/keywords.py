"""The keywords of JSON schemas: which there are, what their values must be, and where schemas stand in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tutelage.store.errors import ConfigError, nearest

Schema = dict[str, Any] | bool
HINT = "leave that part out and check it afterwards"

MOST_CASES = 400
"""Alternatives that one keyword may become."""
MOST_TOGETHER = 1024
"""Those of one schema whose choices hold together, multiplied out: half a second of a compiler's time."""

IN_PLACE = ("$ref", "allOf", "anyOf", "oneOf", "if", "not", "dependentSchemas", "dependencies")
"""Keywords whose schemas say something of the same value."""

NOTES = frozenset((
    "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "externalDocs",
    "xml", "discriminator", "enumNames", "enumDescriptions", "markdownDescription", "$comment", "$schema", "$id",
    "$anchor", "$vocabulary", "$defs", "definitions",
))  # fmt: skip
"""What says nothing of the values that are valid: it is for people, programs that show a form, and references."""

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
FORMATS = frozenset(("date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"))
"""Of strings, that a grammar can have."""


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def _schemas(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_schema, value))


def _named(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_schema, value.values()))


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _type(value: Any) -> bool:
    return value in TYPES if isinstance(value, str) else bool(_names(value) and value and set(value) <= set(TYPES))


Check = tuple[Callable[[Any], bool], str]
_COUNT: Check = (_count, "a number from 0, without a fraction")
_NUMBER: Check = (_number, "a number")
_SCHEMA: Check = (_schema, "a schema: an object, true or false")
_SCHEMAS: Check = (_schemas, "a list of schemas, one at least")
_NAMED: Check = (_named, "an object of schemas")
_TEXT: Check = (lambda value: isinstance(value, str), "a string")
_FLAG: Check = (lambda value: isinstance(value, bool), "true or false")
_REQUIRED: Check = (_names, "a list of names")

ACTING: Mapping[str, Check] = {
    "type": (_type, f"one of {', '.join(TYPES)}, or a list of them"),
    "enum": (lambda value: isinstance(value, list), "a list"),
    "const": (lambda value: True, ""),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _COUNT),
    **dict.fromkeys(("minContains", "maxContains"), _COUNT),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _NUMBER),
    "multipleOf": (lambda value: _number(value) and value > 0, "a number above 0"),
    **dict.fromkeys(("pattern", "format", "$ref"), _TEXT),
    **dict.fromkeys(("uniqueItems", "nullable"), _FLAG),
    "required": _REQUIRED,
    **dict.fromkeys(("properties", "patternProperties", "dependentSchemas"), _NAMED),
    **dict.fromkeys(("additionalProperties", "propertyNames", "unevaluatedProperties", "unevaluatedItems"), _SCHEMA),
    **dict.fromkeys(("additionalItems", "contains", "not", "if", "then", "else"), _SCHEMA),
    "items": (lambda value: _schema(value) or _schemas(value), _SCHEMA[1]),
    **dict.fromkeys(("prefixItems", "anyOf", "allOf", "oneOf"), _SCHEMAS),
    "dependentRequired": (lambda value: isinstance(value, dict) and all(map(_names, value.values())),
                          "an object of lists of names"),
    "dependencies": (lambda value: isinstance(value, dict) and all(_names(v) or _schema(v) for v in value.values()),
                     "an object of lists of names, or schemas"),
}  # fmt: skip
"""What says which values are valid, and what its own value must be."""


def stuck(path: str, keyword: str, why: str) -> ConfigError:
    """The error that names a keyword, where it stands, and why it cannot be kept to."""
    return ConfigError(f'this json schema cannot be expressed as a grammar: "{keyword}" at {path}: {why}', hint=HINT)


def check_keywords(node: Mapping[str, Any], path: str) -> None:
    """Raise ConfigError for a keyword that is not known, which would be ignored, or whose value is wrong."""
    for keyword, value in node.items():
        if keyword in NOTES or (keyword.startswith("x-") and keyword != "x-guidance"):
            continue
        if keyword not in ACTING:
            raise stuck(path, keyword, f"not supported here, and would be ignored; {nearest(keyword, ACTING)}")
        good, what = ACTING[keyword]
        if not good(value):
            raise stuck(path, keyword, f"must be {what}")


def below(node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The schemas that stand in a schema, each with its place."""
    for keyword, value in node.items():
        if keyword in ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions", "dependencies"):
            if isinstance(value, dict):
                yield from ((f"{keyword}/{escaped(name)}", one) for name, one in value.items() if _schema(one))
        elif keyword in ACTING and isinstance(value, list):
            yield from ((f"{keyword}/{at}", one) for at, one in enumerate(value) if isinstance(one, dict))
        elif ACTING.get(keyword) is _SCHEMA or keyword == "items":
            yield keyword, value


def parts(root: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """All schemas within a schema, itself last, each with its place."""
    found: list[tuple[str, dict[str, Any]]] = []
    left: list[tuple[str, Any]] = [("#", root)]
    while left:
        path, node = left.pop()
        if isinstance(node, dict):
            found.append((path, node))
            left += [(f"{path}/{place}", one) for place, one in below(node)]
    return found[::-1]


def escaped(name: str) -> str:
    """A name as a part of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")
