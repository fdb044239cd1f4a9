"""What the keywords of arrays say, without those that a grammar cannot have."""

from __future__ import annotations

import math
from itertools import combinations, permutations
from typing import Any

from tutelage.inference.json_schema.keywords import IN_PLACE, MOST_CASES, Schema, stuck
from tutelage.inference.json_schema.negation import NoNegationError, negation
from tutelage.inference.json_schema.objects import Make
from tutelage.inference.json_schema.overlap import Definition, disjoint, flat, holds
from tutelage.inference.json_schema.values import KINDS, distinct

_MOST_VALUES = 24  # of items that are to be different: more have too many orders


def array_rules(
    node: dict[str, Any], path: str, make: Make, definition: Definition
) -> tuple[dict[str, Any], list[Schema]]:
    """The keywords that stay, and schemas that must hold besides."""
    made = _items(node, path, make)
    more: list[Schema] = []
    if "contains" in node:
        more += _contains(node, path, make, definition)
    for keyword in ("minContains", "maxContains"):
        if keyword in node and "contains" not in node:
            raise stuck(path, keyword, "there is no contains beside it")
    if node.get("uniqueItems"):
        more += _unique(node, made, path, definition)
    return made, more


def _items(node: dict[str, Any], path: str, make: Make) -> dict[str, Any]:
    made: dict[str, Any] = {}
    first, rest = ("prefixItems", "items")
    if isinstance(node.get("items"), list):  # as before the draft of 2020
        if "prefixItems" in node:
            raise stuck(path, "items", "a list beside prefixItems; write a schema")
        first, rest = "items", "additionalItems"
    elif "additionalItems" in node:
        raise stuck(path, "additionalItems", "there is no list of items beside it; write items")
    if first in node:
        made["prefixItems"] = [make(one, f"{path}/{first}/{at}") for at, one in enumerate(node[first])]
    if rest in node:
        made["items"] = make(node[rest], f"{path}/{rest}")
    if "unevaluatedItems" in node and node["unevaluatedItems"] is not True and rest not in node:
        if beside := [name for name in (*IN_PLACE, "contains") if name in node]:
            raise stuck(path, "unevaluatedItems", f"beside {beside[0]}; write items")
        made["items"] = make(node["unevaluatedItems"], f"{path}/unevaluatedItems")
    return made


def _contains(node: dict[str, Any], path: str, make: Make, definition: Definition) -> list[Schema]:
    """By the places of the items that are meant, which must be few."""
    wanted = make(node["contains"], f"{path}/contains")
    least, most = node.get("minContains", 1), node.get("maxContains", math.inf)
    places = node.get("maxItems", math.inf)
    found: list[Schema] = []
    if least:
        some = _choices(places, least, path, "contains" if least == 1 else "minContains")
        found.append({"anyOf": [_at(one, wanted) for one in some]} if some else {"type": _NO_ARRAY})
    if most < places:
        try:
            other = negation(wanted, KINDS, definition)
        except NoNegationError as error:
            raise stuck(path, "maxContains", str(error)) from None
        some = _choices(places, most, path, "maxContains")
        found.append({"anyOf": [{"prefixItems": [at in one or other for at in range(int(places))]} for one in some]})
    return found


def _choices(places: float, count: float, path: str, keyword: str) -> list[tuple[int, ...]]:
    if places == math.inf:
        raise stuck(path, keyword, "only with a maxItems beside it")
    if math.comb(int(places), int(count)) > MOST_CASES:
        raise stuck(path, keyword, f"more than {MOST_CASES} choices of places; set a smaller maxItems")
    return list(combinations(range(int(places)), int(count)))


def _at(places: tuple[int, ...], wanted: Schema) -> Schema:
    last = places[-1]
    return {"prefixItems": [wanted if at in places else True for at in range(last + 1)], "minItems": last + 1}


def _unique(node: dict[str, Any], made: dict[str, Any], path: str, definition: Definition) -> list[Schema]:
    """Items that are all different: by all orders of few values."""
    most, least = node.get("maxItems", math.inf), node.get("minItems", 0)
    first, rest = made.get("prefixItems", []), made.get("items", True)
    if most <= 1 or (rest is False and len(first) <= 1):
        return []
    if rest is False or most <= len(first):
        if all(disjoint(one, other, definition) for one, other in combinations(first, 2)):
            return []
        raise stuck(path, "uniqueItems", "two of prefixItems may be the same")
    values = None if first else _listed(rest, definition)
    if values is None:
        raise stuck(path, "uniqueItems", "only of items that are few listed values (enum), or with a maxItems of 1")
    counts = range(least, int(min(most, len(values))) + 1)
    if sum(math.perm(len(values), count) for count in counts) > MOST_CASES:
        raise stuck(path, "uniqueItems", f"{len(values)} values have more than {MOST_CASES} orders; set maxItems")
    cases: list[Schema] = [
        {"prefixItems": [{"const": value} for value in some], "minItems": count, "maxItems": count}
        if count
        else {"maxItems": 0}
        for count in counts
        for some in permutations(values, count)
    ]
    return [{"anyOf": cases} if cases else {"type": _NO_ARRAY}]


def _listed(schema: Schema, definition: Definition) -> list[Any] | None:
    """All values that fulfil a schema, if they are few and that is certain."""
    view = flat(schema, definition)
    values = view.values
    if values is None and view.kinds <= {"null", "boolean"}:
        values = [None, True, False]
    elif values is None and view.kinds == {"integer"}:
        low, high = view.bound("minimum", "exclusiveMinimum"), view.bound("maximum", "exclusiveMaximum")
        if low and high and max(low) + _MOST_VALUES >= min(high):
            values = list(range(math.ceil(max(low)), math.floor(min(high)) + 1))
    if values is None:
        return None
    said = [(value, holds(schema, value, definition)) for value in distinct(values)]
    return None if any(one is None for _, one in said) else [value for value, one in said if one]


_NO_ARRAY = ["null", "boolean", "number", "string", "object"]
