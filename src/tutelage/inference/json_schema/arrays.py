"""What the keywords of arrays say, without those that a grammar cannot have."""

from __future__ import annotations

import math
from itertools import combinations, permutations
from typing import Any

from tutelage.inference.json_schema.keywords import IN_PLACE, MOST_CASES, Schema, stuck
from tutelage.inference.json_schema.negation import NoNegationError, negation
from tutelage.inference.json_schema.objects import Make
from tutelage.inference.json_schema.overlap import Definition, View, disjoint, flat, holds
from tutelage.inference.json_schema.values import KINDS, distinct

_MOST_VALUES = 24  # of items that are to be different: more have too many orders


def array_rules(
    node: dict[str, Any], path: str, make: Make, definition: Definition
) -> tuple[dict[str, Any], list[Schema]]:
    """The keywords that stay, and schemas that must hold besides."""
    made = _items(node, path, make)
    more: list[Schema] = []
    if "contains" in node:
        more += _contains(node, made, path, make, definition)
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


def _contains(
    node: dict[str, Any], made: dict[str, Any], path: str, make: Make, definition: Definition
) -> list[Schema]:
    """By lengths where every place is known to be meant or not; else by the places of the items that are meant, which
    must be few."""
    wanted = make(node["contains"], f"{path}/contains")
    least, most = node.get("minContains", 1), node.get("maxContains", math.inf)
    first, rest = made.get("prefixItems", []), made.get("items", True)
    places = min(node.get("maxItems", math.inf), len(first) if rest is False else math.inf)
    meant = [_meant(one, wanted, definition) for one in [*first, rest]]
    if least and sum(one is True for one in _of_places(meant, node.get("minItems", 0))) >= least:
        least = 0
    if None not in meant:
        return _lengths(meant, least, most)
    found: list[Schema] = []
    if least:
        some = _choices(places, least, path, "contains" if least == 1 else "minContains")
        found.append({"anyOf": [_at(one, wanted) for one in some]} if some else {"type": _NO_ARRAY})
    if most < places:
        try:
            other = negation(wanted, KINDS, definition)
        except NoNegationError as error:
            raise stuck(path, "maxContains", str(error)) from None
        if not most:
            return [*found, {"items": other}]
        some = _choices(places, most, path, "maxContains")
        found.append({"anyOf": [{"prefixItems": [at in one or other for at in range(int(places))]} for one in some]})
    return found


def _meant(items: Schema, wanted: Schema, definition: Definition) -> bool | None:
    """Whether all values of a schema fulfil another (True), or none does (False)."""
    if wanted is True or items is False:
        return True
    if disjoint(items, wanted, definition):
        return False
    try:
        other = negation(wanted, flat(items, definition).kinds, definition)
        return True if disjoint(items, other, definition) else None
    except NoNegationError:
        return None


def _of_places(meant: list[bool | None], count: int) -> list[bool | None]:
    """What is known of the first `count` places; the last of `meant` is that of all further ones."""
    *first, rest = meant
    return [*first[:count], *[rest] * max(0, count - len(first))]


def _lengths(meant: list[bool | None], least: int, most: float) -> list[Schema]:
    """The lengths at which so many places are meant."""
    *first, rest = meant
    counted = [sum(map(bool, first[:length])) for length in range(len(first) + 1)]
    enough = next((length for length, count in enumerate(counted) if count >= least), None)
    if enough is None:
        if not rest:
            return [{"type": _NO_ARRAY}]
        enough = len(first) + least - counted[-1]
    # All of the first are few enough: then so many of the rest as are left, or any number of what is not meant.
    if counted[-1] > most:
        longest: float = max(length for length, count in enumerate(counted) if count <= most)
    else:
        longest = len(first) + most - counted[-1] if rest else math.inf
    found: list[Schema] = [{"minItems": enough}] if enough else []
    return found + ([{"maxItems": int(longest)}] if longest < math.inf else [])


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
    values = _candidates(flat(schema, definition), definition)
    if values is None:
        return None
    said = [(value, holds(schema, value, definition)) for value in distinct(values)]
    return None if any(one is None for _, one in said) else [value for value, one in said if one]


def _candidates(view: View, definition: Definition) -> list[Any] | None:
    """Some values, among them all that fulfil a schema."""
    if view.values is not None:
        return view.values
    values: list[Any] = [None, True, False]
    if "integer" in view.kinds:
        low, high = view.bound("minimum", "exclusiveMinimum"), view.bound("maximum", "exclusiveMaximum")
        if low and high and max(low) + _MOST_VALUES >= min(high):
            values += range(math.ceil(max(low)), math.floor(min(high)) + 1)
            if view.kinds <= {"null", "boolean", "integer"}:
                return values
    elif view.kinds <= {"null", "boolean"}:
        return values
    for choice in view.choices:
        each = [_listed(one, definition) for one in choice]
        if None not in each:
            return [value for some in each for value in some or ()]
    return None


_NO_ARRAY = ["null", "boolean", "number", "string", "object"]
