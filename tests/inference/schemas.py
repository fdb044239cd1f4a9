"""JSON schemas of growing difficulty, drawn from a seed; all of what a grammar can express."""

from __future__ import annotations

from random import Random
from typing import Any

Schema = dict[str, Any]
LEVELS = 5
_NAMES = ("name", "age", "tags", "id", "größe", "a b", "x", "value", "next", "ok")
_PATTERNS = ("^[a-z]{2,5}$", "^\\d{3}-\\d{2}$", "^(red|green|blue)$", "^[A-Z][a-z]*$", "[0-9]", "^a+b?$")
_FORMATS = ("date", "time", "date-time", "uuid", "ipv4", "ipv6", "email")


def draw_schema(seed: int) -> Schema:
    """Schema number `seed`; its level, 0 to 4, is `seed % 5`: one value, bounds, nesting, choices, references."""
    random, level = Random(seed), seed % LEVELS
    if level < 4:
        return _any(random, level, depth=min(level, 3))
    definitions = {f"d{number}": _any(random, 3, depth=1) for number in range(2)}
    # A tree that may end at every node.
    definitions["node"] = {
        "type": "object",
        "properties": {"value": _scalar(random, 2), "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}},
        "required": ["value", "next"],
        "additionalProperties": False,
    }
    properties = {name: {"$ref": f"#/$defs/{random.choice(list(definitions))}"} for name in random.sample(_NAMES, 3)}
    return {
        "$defs": definitions, "type": "object", "properties": properties,
        "required": random.sample(list(properties), 2), "additionalProperties": False,
    }  # fmt: skip


def _any(random: Random, level: int, depth: int) -> Schema:
    if depth == 0 or level < 2:
        return _scalar(random, level)
    kinds = [_object, _object, _array] + ([_either, _several] if level >= 3 else [])
    return random.choice(kinds)(random, level, depth - 1)


def _scalar(random: Random, level: int) -> Schema:
    kind = random.choice(("null", "boolean", "integer", "number", "string", "enum", "const"))
    if kind == "enum":
        return {"enum": random.sample(["a", "b c", 'say "x"', "ü\n", 1, -2.5, True, None, [1, 2], {"k": "v"}], 3)}
    if kind == "const":
        return {"const": random.choice(["fixed", 7, [1, {"a": None}], {"x": [True]}])}
    schema: Schema = {"type": kind}
    if level == 0:
        return schema
    if kind == "integer":
        low = random.randint(-1000, 1000)
        lower, upper = random.choice((("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum")))
        schema |= {lower: low, upper: low + random.randint(2, 500)}
        if random.random() < 0.3:
            schema = {"type": "integer", "multipleOf": random.randint(2, 7), "minimum": 0}
    elif kind == "number":
        low = random.uniform(-10, 10)
        schema |= {"minimum": round(low, 2), "maximum": round(low + random.uniform(0.5, 100), 2)}
        if random.random() < 0.3:
            del schema[random.choice(("minimum", "maximum"))]
    elif kind == "string":
        schema |= random.choice(
            (
                {"minLength": random.randint(0, 3), "maxLength": random.randint(3, 12)},
                {"pattern": random.choice(_PATTERNS)},
                {"format": random.choice(_FORMATS)},
            )
        )
    return schema


def _object(random: Random, level: int, depth: int) -> Schema:
    names = random.sample(_NAMES, random.randint(1, 4))
    schema: Schema = {"type": "object", "properties": {name: _any(random, level, depth) for name in names}}
    schema["required"] = random.sample(names, random.randint(0, len(names)))
    schema["additionalProperties"] = random.choice((False, {"type": "integer", "minimum": 0, "maximum": 9}))
    if random.random() < 0.2:
        schema["minProperties"] = len(schema["required"])
    if random.random() < 0.2:
        schema["patternProperties"] = {"^p_": {"type": "boolean"}}
    return schema


def _array(random: Random, level: int, depth: int) -> Schema:
    low = random.randint(0, 2)
    schema: Schema = {"type": "array", "items": _any(random, level, depth), "minItems": low}
    schema["maxItems"] = low + random.randint(1, 3)
    if random.random() < 0.3:
        schema["prefixItems"] = [_any(random, level, depth)]
        schema["maxItems"] += 1
    return schema


def _either(random: Random, level: int, depth: int) -> Schema:
    return {"anyOf": [_any(random, level, depth) for _ in range(random.randint(2, 3))]}


def _several(random: Random, level: int, depth: int) -> Schema:
    """Of several types, by name or by joining schemas."""
    chance = random.random()
    if chance < 0.3:  # told apart by a constant
        kinds = ("circle", "square", "none")
        return {
            "oneOf": [
                {"type": "object", "properties": {"kind": {"const": kind}, "x": _any(random, level, depth)},
                 "required": ["kind"], "additionalProperties": False}
                for kind in kinds
            ]
        }  # fmt: skip
    if chance < 0.6:
        return {"type": random.sample(["null", "boolean", "integer", "string"], 2)}
    return {
        "allOf": [
            {"type": "object", "properties": {"a": _any(random, level, depth)}, "required": ["a"]},
            {"type": "object", "properties": {"b": _any(random, level, depth)}, "required": ["b"]},
        ]
    }


def draw_conditional(seed: int) -> Schema:
    """An object whose properties have what a grammar has no rules for, and that has some of it itself."""
    random = Random(seed)
    names = ["k", "a", "b", "c"]
    parts: list[Schema] = [{"not": {"enum": random.sample([1, 2, "x", "y", None, True], 3)}, "maximum": 99}]
    parts += [random.choice(_conditional_parts(random)) for _ in names[1:]]
    schema: Schema = {"type": "object", "properties": dict(zip(names, parts, strict=True))}
    schema["additionalProperties"] = False
    kind = {"properties": {"k": {"const": random.choice(["z", 5])}}, "required": ["k"]}
    some, other = random.sample(names[1:], 2)
    schema |= random.choice(
        (
            {"if": kind, "then": {"required": [some]}, "else": {"required": [other]}},
            {"oneOf": [{"required": [some]}, {"required": [other]}]},
            {"dependentRequired": {some: [other], other: ["k"]}, "minProperties": 1},
            {"not": {"required": [some]}, "required": [other]},
            {"maxProperties": 2, "minProperties": 1},
            {"dependentSchemas": {some: {"required": ["k"], "not": {"required": [other]}}}},
        )
    )
    return schema


def _conditional_parts(random: Random) -> list[Schema]:
    low = random.randint(0, 5)
    tagged = [
        {"type": "object", "properties": {"t": {"const": name}, "v": _scalar(random, 0)}, "required": ["t"]}
        for name in ("circle", "square")
    ]
    return [
        {"oneOf": [{"type": "string", "maxLength": 4}, {"type": "string", "minLength": 3, "maxLength": 9}]},
        {
            "oneOf": [
                {"type": "integer", "minimum": low, "maximum": 9},
                {"type": "integer", "minimum": 7, "maximum": 20},
            ]
        },
        {"oneOf": [*tagged, {"type": "null"}]},
        {"oneOf": [{"enum": [1, "a", "b"]}, {"enum": ["b", "c", None]}, {"type": "boolean"}]},
        {"type": "string", "not": {"enum": ["a", "b", 'say "x"', "é"]}, "maxLength": 6},
        {"type": "string", "pattern": '^[^"]{1,5}$'},
        {"type": "array", "items": {"enum": ["x", "y", "z", 1]}, "uniqueItems": True, "minItems": random.randint(0, 2)},
        {"type": "array", "items": {"type": ["integer", "null"]}, "contains": {"type": "integer"}, "maxItems": low + 1},
        {"type": "array", "items": {"enum": [1, 2]}, "contains": {"const": 1}, "maxContains": 1, "maxItems": 3},
        {"if": {"type": "string"}, "then": {"maxLength": 3}, "else": {"type": ["null", "boolean"]}},
        {
            "type": "object",
            "propertyNames": {"pattern": "^[ab]$"},
            "maxProperties": 2,
            "additionalProperties": {"type": "null"},
        },
    ]
