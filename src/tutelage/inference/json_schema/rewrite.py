"""A JSON schema that a grammar can have, equivalent to another: exactly the same values are valid.

What llguidance has no rules for is said by what it has: `oneOf` by branches that exclude each other, `not` by what is
left, `if`, `dependentRequired` and their like by cases. Where that cannot be done exactly, the keyword and its place
are named. Nothing is ignored, neither by us nor by llguidance, which passes over keywords that it does not know.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from tutelage.inference.json_schema.arrays import array_rules
from tutelage.inference.json_schema.formats import numeric_format, string_format
from tutelage.inference.json_schema.keywords import MOST_TOGETHER, Schema, check_keywords, escaped, stuck
from tutelage.inference.json_schema.negation import NoNegationError, negation
from tutelage.inference.json_schema.objects import object_rules
from tutelage.inference.json_schema.overlap import PART, disjoint, flat, holds
from tutelage.inference.json_schema.patterns import portable
from tutelage.inference.json_schema.references import References
from tutelage.inference.json_schema.values import KINDS, kinds_of
from tutelage.store.errors import ConfigError

_PLAIN = ("type", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "exclusiveMinimum",
          "exclusiveMaximum", "multipleOf", "pattern", "required", "enum", "const")  # fmt: skip


def expressible(schema: Schema) -> Schema:
    """The schema without what a grammar cannot have. Raises ConfigError naming the keyword and its place."""
    try:
        return _Rewriter(schema).whole()
    except RecursionError:
        raise ConfigError("this json schema cannot be expressed as a grammar: it is nested too deeply") from None


class _Rewriter:
    def __init__(self, root: Schema) -> None:
        self._root, self._references = root, References(root)
        self._names: dict[str, str] = {}  # place of a target -> its name in the new schema
        self._targets: dict[str, tuple[str, Schema]] = {}
        self._done: dict[str, Schema] = {}
        self._busy: set[str] = set()

    def whole(self) -> Schema:
        made = self._schema(self._root, "#")
        while left := [name for name in self._targets if name not in self._done]:
            self._definition(f"#/$defs/{left[0]}")
        if not self._done or isinstance(made, bool):
            return made
        return {"$defs": self._done, **made}

    def _definition(self, ref: str) -> Schema:
        """What a reference of the new schema leads to; of one that is just being made a part."""
        name = ref.rpartition("/")[2]
        if name not in self._done:
            path, node = self._targets[name]
            if name in self._busy:
                return _sketch(node)
            self._busy.add(name)
            self._done[name] = self._schema(node, path)
            self._busy.discard(name)
        return self._done[name]

    def _schema(self, node: Schema, path: str) -> Schema:
        if isinstance(node, bool):
            return node
        check_keywords(node, path)
        made: dict[str, Any] = {name: node[name] for name in _PLAIN if name in node}
        together: list[Schema] = []
        if "pattern" in node:
            made["pattern"] = portable(node["pattern"])
        if "$ref" in node:
            made["$ref"] = self._reference(node["$ref"], path)
        if node.get("nullable") and "type" in made:  # of OpenAPI 3.0: null is a value beside those of `type`
            types = [made["type"]] if isinstance(made["type"], str) else made["type"]
            made["type"] = [*dict.fromkeys([*types, "null"])]
        for rules in (object_rules, array_rules):
            own, more = rules(node, path, self._schema, self._definition)
            made |= own
            together += more
        if "format" in node:
            together.append(self._format(node, path))
        for keyword in ("anyOf", "allOf"):
            if keyword in node:
                made[keyword] = [self._schema(one, f"{path}/{keyword}/{at}") for at, one in enumerate(node[keyword])]
        around = {**made, "allOf": [*made.get("allOf", ()), *together]} if together else made
        if "oneOf" in node:
            together.append(self._one_of(node["oneOf"], around, f"{path}/oneOf"))
        if "not" in node:
            inner = self._schema(node["not"], f"{path}/not")
            together.append(self._negated(inner, around, path, "not"))
        together += self._conditions(node, around, path)
        together = [one for one in together if one is not True]
        if False in together:
            return False
        if together:
            made["allOf"] = [*made.get("allOf", ()), *together]
        if _cases(made) > MOST_TOGETHER:
            raise stuck(path, "allOf", f"what holds together here would be more than {MOST_TOGETHER} cases")
        return made

    def _reference(self, ref: str, path: str) -> str:
        place, target = self._references.target(ref, path)
        if place not in self._names:
            self._names[place] = f"d{len(self._names)}"
            self._targets[self._names[place]] = (place, target)
        return f"#/$defs/{self._names[place]}"

    def _format(self, node: dict[str, Any], path: str) -> Schema:
        kinds = kinds_of(node["type"]) if "type" in node else KINDS
        name = node["format"]
        if kinds <= {"integer", "fraction", "null"} and (bounds := numeric_format(name)) is not None:
            return bounds
        if (text := string_format(name)) is None:
            raise stuck(path, "format", f"{name!r} is not known")
        return text

    def _negated(self, schema: Schema, around: Schema, path: str, keyword: str) -> Schema:
        try:
            return negation(schema, flat(around, self._definition).kinds, self._definition)
        except NoNegationError as error:
            raise stuck(path, keyword, str(error)) from None

    def _one_of(self, branches: list[Schema], around: Schema, path: str) -> Schema:
        """anyOf of the same branches, each without what another allows."""
        made = [self._schema(one, f"{path}/{at}") for at, one in enumerate(branches)]
        given: list[Schema] = [{"allOf": [around, one]} for one in made]
        try:
            return {"anyOf": [self._alone(at, made, given, around) for at in range(len(made))]}
        except NoNegationError as error:
            first, second = next(
                pair
                for pair in combinations(range(len(made)), 2)
                if not disjoint(given[pair[0]], given[pair[1]], self._definition)
            )
            why = (
                f"a value may fulfil both {first} and {second}, and {error}; tell them apart by a required property "
                "with a const, or write anyOf"
            )
            raise stuck(path.removesuffix("/oneOf"), "oneOf", why) from None

    def _alone(self, at: int, made: list[Schema], given: list[Schema], around: Schema) -> Schema:
        others = [
            one for one in range(len(made))
            if one != at and not disjoint(given[at], given[one], self._definition)
        ]  # fmt: skip
        if not others:
            return made[at]
        values = flat(made[at], self._definition).values
        if values is not None:
            said = [[holds(made[one], value, self._definition) for one in others] for value in values]
            if not any(None in each for each in said):
                kept = [value for value, each in zip(values, said, strict=True) if True not in each]
                return {"allOf": [made[at], {"enum": kept}]} if kept else False
        kinds = flat(given[at], self._definition).kinds
        without = [negation(made[one], kinds, self._definition) for one in others]
        return False if False in without else {"allOf": [made[at], *(one for one in without if one is not True)]}

    def _conditions(self, node: dict[str, Any], around: Schema, path: str) -> list[Schema]:
        found: list[Schema] = []
        for keyword in ("then", "else"):
            if keyword in node and "if" not in node:
                raise stuck(path, keyword, "there is no if beside it")
        if "if" in node:
            condition = self._schema(node["if"], f"{path}/if")
            then, otherwise = (self._schema(node.get(name, True), f"{path}/{name}") for name in ("then", "else"))
            if then is not True or otherwise is not True:
                other = self._negated(condition, around, path, "if")
                found.append({"anyOf": [_both(condition, then), _both(other, otherwise)]})
        for keyword in ("dependentRequired", "dependentSchemas", "dependencies"):
            for name, wanted in node.get(keyword, {}).items():
                place = f"{path}/{keyword}/{escaped(name)}"
                present = {"required": wanted} if isinstance(wanted, list) else self._schema(wanted, place)
                found.append({"anyOf": [{"properties": {name: False}}, _both({"required": [name]}, present)]})
        return found


def _sketch(node: Schema) -> Schema:
    """Some of what a schema says, marked as a part."""
    if isinstance(node, bool):
        return node
    told = {name: one for name, one in node.get("properties", {}).items() if isinstance(one, dict) and "const" in one}
    return {
        **{name: node[name] for name in ("type", "required") if name in node},
        "properties": {name: {"const": one["const"]} for name, one in told.items()},
        PART: True,
    }


def _both(one: Schema, other: Schema) -> Schema:
    """What fulfils both."""
    if one is False or other is False:
        return False
    return other if one is True else one if other is True else {"allOf": [one, other]}


def _cases(schema: Schema) -> int:
    """How many choices hold together in a schema, multiplied out."""
    if isinstance(schema, bool):
        return 1
    count = sum(map(_cases, schema["anyOf"])) if "anyOf" in schema else 1
    for one in schema.get("allOf", ()):
        count *= _cases(one)
    return count
