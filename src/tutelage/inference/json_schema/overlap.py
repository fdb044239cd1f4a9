"""Whether a value fulfils a schema, and whether two schemas have values in common; None and False where that is not
certain. Of schemas as `rewrite` makes them: with no oneOf, not, if and the like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tutelage.inference.json_schema.keywords import Schema
from tutelage.inference.json_schema.values import KINDS, kind_of, kinds_of, same

Definition = Callable[[str], Schema]
PART = "$part"
"""Marks a schema of which only a part is known yet: all that it allows may be more than is allowed."""
_DEEPEST = 12  # references and properties that are looked through


@dataclass
class View:
    """What a schema says outside of its choices (anyOf): all that must hold together."""

    kinds: frozenset[str] = KINDS
    nodes: list[dict[str, Any]] = field(default_factory=list)
    choices: list[list[Schema]] = field(default_factory=list)
    impossible: bool = False

    @property
    def required(self) -> set[str]:
        return {name for node in self.nodes for name in node.get("required", ())}

    @property
    def values(self) -> list[Any] | None:
        """All values that there may be; None for more than are listed."""
        for node in self.nodes:
            if "const" in node or "enum" in node:
                return [node["const"]] if "const" in node else list(node["enum"])
        return None

    def properties(self, name: str) -> list[Schema]:
        """What must hold of a property."""
        found: list[Schema] = []
        for node in self.nodes:
            if name in node.get("properties", {}):
                found.append(node["properties"][name])
            elif "additionalProperties" in node and not node.get("patternProperties"):
                found.append(node["additionalProperties"])
        return found

    def bound(self, *names: str) -> list[float]:
        return [node[name] for node in self.nodes for name in names if name in node]


def flat(schema: Schema, definition: Definition, depth: int = 0) -> View:
    """The view of a schema, its references and allOf looked through."""
    view = View()
    left: list[Schema] = [schema]
    while left:
        node = left.pop()
        if isinstance(node, bool):
            view.impossible |= not node
            continue
        view.nodes.append(node)
        if "type" in node:
            view.kinds &= kinds_of(node["type"])
        left += node.get("allOf", ())
        if "anyOf" in node:
            view.choices.append(node["anyOf"])
        if "$ref" in node and depth < _DEEPEST:
            depth += 1
            left.append(definition(node["$ref"]))
    if view.values is not None:
        view.kinds &= {kind_of(value) for value in view.values}
    return view


def holds(schema: Schema, value: Any, definition: Definition, depth: int = 0) -> bool | None:
    """Whether the value is valid; None where that is not certain."""
    view = flat(schema, definition)
    if view.impossible or kind_of(value) not in view.kinds:
        return False
    if depth > _DEEPEST:
        return None
    said: list[bool | None] = [None if any(PART in node for node in view.nodes) else True]
    for node in view.nodes:
        said += _parts(node, value, definition, depth)
    for choice in view.choices:
        each = [holds(one, value, definition, depth + 1) for one in choice]
        said.append(True if True in each else None if None in each else False)
    return False if False in said else None if None in said else True


def _parts(node: dict[str, Any], value: Any, definition: Definition, depth: int) -> Iterator[bool | None]:
    if "const" in node:
        yield same(node["const"], value)
    if "enum" in node:
        yield any(same(one, value) for one in node["enum"])
    kind = kind_of(value)
    if kind == "object":
        yield set(node.get("required", ())) <= value.keys()
        known = node.get("properties", {})
        for name, one in value.items():
            if name in known:
                yield holds(known[name], one, definition, depth + 1)
            elif "patternProperties" in node:
                yield None
            elif "additionalProperties" in node:
                yield holds(node["additionalProperties"], one, definition, depth + 1)
    elif kind == "array":
        first = node.get("prefixItems", [])
        for one, wanted in zip(value, first, strict=False):
            yield holds(wanted, one, definition, depth + 1)
        for one in value[len(first) :]:
            yield holds(node.get("items", True), one, definition, depth + 1)
    elif kind == "string":
        yield None if "pattern" in node or "format" in node else True
    elif kind in ("integer", "fraction"):
        yield None if "multipleOf" in node else True
        yield value >= node.get("minimum", value) and value <= node.get("maximum", value)
        yield not ("exclusiveMinimum" in node and value <= node["exclusiveMinimum"])
        yield not ("exclusiveMaximum" in node and value >= node["exclusiveMaximum"])
    size = {"object": "Properties", "array": "Items", "string": "Length"}.get(kind)
    if size:
        yield node.get(f"min{size}", 0) <= len(value) <= node.get(f"max{size}", len(value))


def disjoint(one: Schema, other: Schema, definition: Definition, depth: int = 0) -> bool:
    """Whether it is certain that no value fulfils both."""
    a, b = flat(one, definition), flat(other, definition)
    if a.impossible or b.impossible or depth > _DEEPEST:
        return a.impossible or b.impossible
    for mine, schema in ((a, other), (b, one)):
        if mine.values is not None:
            return all(holds(schema, value, definition) is False for value in mine.values)
    if all(_apart(kind, a, b, definition, depth) for kind in a.kinds & b.kinds):
        return True
    for mine, yours in ((a, other), (b, one)):
        for choice in mine.choices:
            if all(disjoint(branch, yours, definition, depth + 1) for branch in choice):
                return True
    return False


def _apart(kind: str, a: View, b: View, definition: Definition, depth: int) -> bool:
    """Whether no value of this kind fulfils both."""
    if kind in ("integer", "fraction"):
        return _bounds_exclude(a, b)
    size = {"object": "Properties", "array": "Items", "string": "Length"}.get(kind)
    if size and max(a.bound(f"min{size}") + b.bound(f"min{size}"), default=0) > min(
        a.bound(f"max{size}") + b.bound(f"max{size}"), default=float("inf")
    ):
        return True
    if kind == "object":
        # A property that must be there and cannot fulfil both; of one that is forbidden nothing can.
        return any(
            disjoint(mine, yours, definition, depth + 1)
            for name in a.required | b.required
            for mine in [*a.properties(name), True]
            for yours in [*b.properties(name), True]
        )
    if kind == "array":
        length = int(max(a.bound("minItems") + b.bound("minItems"), default=0))
        return any(
            disjoint(mine, yours, definition, depth + 1)
            for at in range(min(length, 64))
            for mine in _items(a, at)
            for yours in _items(b, at)
        )
    return False


def _items(view: View, at: int) -> list[Schema]:
    found: list[Schema] = [True]
    for node in view.nodes:
        first = node.get("prefixItems", [])
        found.append(first[at] if at < len(first) else node.get("items", True))
    return found


def _bounds_exclude(a: View, b: View) -> bool:
    low, high = float("-inf"), float("inf")
    for view in (a, b):
        low = max([low, *view.bound("minimum", "exclusiveMinimum")])
        high = min([high, *view.bound("maximum", "exclusiveMaximum")])
    open_ends = [*a.bound("exclusiveMinimum"), *b.bound("exclusiveMinimum")].count(low)
    open_ends += [*a.bound("exclusiveMaximum"), *b.bound("exclusiveMaximum")].count(high)
    return low > high or (low == high and open_ends > 0)
