"""What the keywords of objects say, without those that a grammar cannot have."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import combinations
from typing import Any

from tutelage.inference.json_schema.keywords import IN_PLACE, MOST_CASES, Schema, escaped, stuck
from tutelage.inference.json_schema.overlap import Definition, flat
from tutelage.inference.json_schema.patterns import portable

Make = Callable[[Schema, str], Schema]


def object_rules(
    node: dict[str, Any], path: str, make: Make, definition: Definition
) -> tuple[dict[str, Any], list[Schema]]:
    """The keywords that stay, and schemas that must hold besides."""
    made: dict[str, Any] = {}
    for keyword in ("properties", "patternProperties"):
        if keyword in node:
            made[keyword] = {
                name: make(one, f"{path}/{keyword}/{escaped(name)}") for name, one in node[keyword].items()
            }
    if "patternProperties" in made:
        made["patternProperties"] = {portable(name): one for name, one in made["patternProperties"].items()}
    if "additionalProperties" in node:
        made["additionalProperties"] = make(node["additionalProperties"], f"{path}/additionalProperties")
    if "unevaluatedProperties" in node:
        _unevaluated(node, made, path, make)
    if "propertyNames" in node:
        _names(node, made, path, make, definition)
    return made, _counts(node, made, path)


def _unevaluated(node: dict[str, Any], made: dict[str, Any], path: str, make: Make) -> None:
    wanted = node["unevaluatedProperties"]
    if wanted is True or "additionalProperties" in node:
        return  # all properties are evaluated
    if beside := [name for name in IN_PLACE if name in node]:
        raise stuck(path, "unevaluatedProperties", f"beside {beside[0]}; write additionalProperties")
    made["additionalProperties"] = make(wanted, f"{path}/unevaluatedProperties")


def _names(node: dict[str, Any], made: dict[str, Any], path: str, make: Make, definition: Definition) -> None:
    """propertyNames: what other names may be goes into patternProperties, or as properties where they are listed."""
    wanted = make(node["propertyNames"], f"{path}/propertyNames")
    if wanted is True:
        return
    if "patternProperties" in node:
        raise stuck(path, "propertyNames", "beside patternProperties")
    other, known = made.get("additionalProperties", True), made.get("properties", {})
    values = [] if wanted is False else flat(wanted, definition).values
    if values is not None and (wanted is False or set(wanted) <= {"enum", "const", "type"}):
        listed = [one for one in values if isinstance(one, str)]
        made["properties"] = {name: one if name in listed else False for name, one in known.items()}
        made["properties"] |= {name: other for name in listed if name not in known}
        made["additionalProperties"] = False
        return
    assert isinstance(wanted, dict)
    if set(wanted) <= {"type", "pattern"} and "pattern" in wanted and wanted.get("type", "string") == "string":
        pattern = wanted["pattern"]
    elif set(wanted) <= {"type", "minLength", "maxLength"} and wanted.get("type", "string") == "string":
        pattern = rf"^[\s\S]{{{wanted.get('minLength', 0)},{wanted.get('maxLength', '')}}}$"
    else:
        raise stuck(path, "propertyNames", "only a pattern, lengths, or names that are listed")
    try:
        ending = pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern
        fitting = {name for name in known if re.search(ending, name, re.ASCII)}
    except re.error as error:
        raise stuck(path, "propertyNames", f"the pattern is none: {error}") from None
    made["properties"] = {name: one if name in fitting else False for name, one in known.items()}
    made["patternProperties"], made["additionalProperties"] = {pattern: other}, False


def _counts(node: dict[str, Any], made: dict[str, Any], path: str) -> list[Schema]:
    """minProperties and maxProperties. llguidance counts what is written where all that is listed is required; else the
    choices are listed."""
    low, high = node.get("minProperties", 0), node.get("maxProperties", math.inf)
    required = set(node.get("required", ()))
    known = {name for name, one in made.get("properties", {}).items() if one is not False} | required
    others = bool(made.get("patternProperties")) or made.get("additionalProperties", True) is not False
    low = 0 if low <= len(required) else low
    high = math.inf if not others and high >= len(known) else high
    if not low and high == math.inf:
        return []
    if others:
        if known > required:
            keyword = "minProperties" if low else "maxProperties"
            raise stuck(path, keyword, "beside properties that may be left out and others that may be added")
        if low > len(required) + 1:
            raise stuck(path, "minProperties", "a name that is not listed might be written twice, and is one property")
        made |= {name: node[name] for name in ("minProperties", "maxProperties") if name in node}
        return []
    optional = sorted(known - required)
    needed = max(0, low - len(required))
    left_out = 0 if high == math.inf else len(known) - int(high)
    if max(needed, left_out) > len(optional):
        return [{"type": _NO_OBJECT}]
    found: list[Schema] = []
    if needed:
        some = _choices(optional, needed, path, "minProperties")
        found.append({"anyOf": [{"required": [*one]} for one in some]})
    if left_out:
        some = _choices(optional, left_out, path, "maxProperties")
        found.append({"anyOf": [{"properties": dict.fromkeys(one, False)} for one in some]})
    return found


def _choices(names: list[str], count: int, path: str, keyword: str) -> list[tuple[str, ...]]:
    if math.comb(len(names), count) > MOST_CASES:
        raise stuck(path, keyword, f"more than {MOST_CASES} choices of properties")
    return list(combinations(names, count))


_NO_OBJECT = ["null", "boolean", "number", "string", "array"]
