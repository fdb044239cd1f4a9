"""JSON schemas rewritten for a grammar: exactly the values that jsonschema calls valid can be written, or it is said
what cannot be kept to and where."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import permutations, product
from typing import Any

import pytest

from byte_model import byte_tokenizer
from tutelage.inference.constraint import Constraint
from tutelage.inference.grammar import Grammar
from tutelage.inference.json_schema.overlap import holds
from tutelage.inference.json_schema.patterns import portable, without_pattern
from tutelage.inference.json_schema.rewrite import expressible
from tutelage.store.errors import ConfigError, InputError
from tutelage.tokenizer.tokenizer import Tokenizer

pytest.importorskip("llguidance")
jsonschema = pytest.importorskip("jsonschema")

SCALARS: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    2,
    3,
    5,
    7,
    -1,
    0.5,
    2.5,
    "",
    "a",
    "b",
    "c",
    "ab",
    "abc",
    "x y",
    "ü",
    'q"',
]
ARRAYS: list[Any] = [
    [], [1], ["a"], [1, 2], [2, 1], [1, 1], ["a", 1], [1, "a"], ["a", "b"], ["a", "a"], [True, False], [True, True],
    [None], [1, 2, 3], [1, 2, 1], ["a", "b", "c"], [3, "a", 1], [[1], []],
]  # fmt: skip
OBJECTS: list[Any] = [
    {}, {"a": 1}, {"a": "x"}, {"b": 1}, {"b": "x"}, {"a": 1, "b": 2}, {"a": 1, "b": "x"}, {"a": 2, "b": 1}, {"c": 1},
    {"a": 1, "c": 1}, {"b": 2, "c": 1}, {"a": 1, "b": 2, "c": 3}, {"k": "x"}, {"k": "y"}, {"k": "z"}, {"k": 1},
    {"k": "x", "a": 1}, {"k": "y", "a": 1}, {"k": "x", "b": 1}, {"k": "y", "b": 1}, {"k": "z", "a": 1, "b": 1},
    {"k": "x", "a": 1, "b": 1}, {"k": None, "b": 1}, {"a": {"k": "x"}}, {"a": {"k": "y"}}, {"ab": 1}, {"d": 4, "a": 1},
    {"k": "x", "next": {"k": "y"}}, {"k": "x", "next": None}, {"k": "x", "next": {"k": "x", "next": None}},
]  # fmt: skip
VALUES = [*SCALARS, *ARRAYS, *OBJECTS]

ABC: dict[str, Any] = {name: {"type": "integer"} for name in "abc"}
KIND = {"properties": {"k": {"const": "x"}}, "required": ["k"]}


def tagged(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"k": {"const": name}, **more}, "required": ["k"]}


EXACT: list[Any] = [
    # oneOf
    {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    {"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 1}]},
    {"oneOf": [{"type": "integer", "maximum": 3}, {"type": "integer", "minimum": 2}]},
    {"oneOf": [{"type": "number", "maximum": 1}, {"type": "number", "minimum": 1}]},
    {"oneOf": [{"enum": ["a", "b", 1]}, {"enum": ["b", "c", 1.0]}]},
    {"oneOf": [{"type": "string"}, {"enum": ["a", 1]}]},
    {"oneOf": [{"type": "string"}, {"const": "a"}, {"minLength": 2, "type": "string"}]},
    {"oneOf": [{"type": "array", "maxItems": 1}, {"type": "array", "minItems": 1}]},
    {"oneOf": [tagged("x", a={"type": "integer"}), tagged("y", b={"type": "integer"}), {"type": "null"}]},
    {"oneOf": [{"properties": {"k": {"const": "x"}}}, {"properties": {"k": {"const": "y"}}}], "type": "object"},
    {"type": "object", "properties": ABC, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"type": "object", "properties": ABC, "oneOf": [{"required": [name]} for name in "abc"]},
    {"type": "object", "properties": ABC, "additionalProperties": False,
     "oneOf": [{"required": ["a", "b"]}, {"required": ["c"]}]},
    {"type": "object", "properties": {"k": {}, "a": {}}, "required": ["k"],
     "oneOf": [{"properties": {"k": {"const": "x"}}}, {"properties": {"k": {"enum": ["x", "y"]}}, "required": ["a"]}]},
    {"oneOf": [{"type": ["string", "null"]}, {"type": ["null", "boolean"]}]},
    {"oneOf": [True, {"type": "string"}]}, {"oneOf": [{"type": "string"}]}, {"oneOf": [False, {"type": "null"}]},
    {"oneOf": [{"type": "string"}, {"type": "string"}, {"type": "integer"}]},
    {"oneOf": [{"anyOf": [{"type": "null"}, {"const": 1}]}, {"not": {"type": ["null", "number"]}}]},
    {"oneOf": [{"$ref": "#/$defs/s"}, {"$ref": "#/$defs/o"}], "$defs": {"s": {"type": "string"}, "o": tagged("x")}},
    {"$defs": {"node": {**tagged("x", next={"oneOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]})}},
     "$ref": "#/$defs/node"},
    {"$defs": {"n": {"oneOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#/$defs/n"}}]}},
     "$ref": "#/$defs/n"},
    # not
    {"not": {"type": "string"}}, {"not": {"type": ["number", "object", "array"]}}, {"not": {"not": {"type": "null"}}},
    {"not": {"enum": ["a", "ab", 1, None]}}, {"not": {"const": 2.5}}, {"type": "integer", "not": {"const": 2}},
    {"type": "string", "not": {"enum": ["", "ü", 'q"']}}, {"type": "boolean", "not": {"const": True}},
    {"type": "object", "not": {"required": ["a"]}}, {"not": {"required": ["a"]}},
    {"type": "object", "not": {"required": ["a", "b"]}}, {"not": KIND}, {"type": "object", "not": KIND},
    {"not": {"anyOf": [{"type": "string"}, {"type": "array"}]}}, {"not": {"minimum": 2}}, {"not": {"maxLength": 1}},
    {"not": {"allOf": [{"minimum": 1}, {"maximum": 2}]}}, {"type": "array", "not": {"minItems": 2}},
    {"type": "array", "not": {"prefixItems": [{"type": "string"}]}}, {"type": "array", "not": {"const": []}},
    {"not": {"oneOf": [{"type": "string"}, {"type": "string", "minLength": 2}]}},
    {"enum": ["a", 1, None, {"k": "x"}], "not": {"enum": [1, "z"]}},
    {"type": "object", "not": {"properties": {"a": {"type": "object", "properties": {"k": {"const": "x"}}}}}},
    {"type": "string", "not": {"pattern": "a"}}, {"type": "string", "not": {"pattern": "^[a-b]+$"}},
    {"not": {"pattern": "^a"}}, {"type": "string", "not": {"pattern": "[bq]$"}}, {"not": {"pattern": "^(ab|x)"}},
    {"type": "string", "not": {"pattern": "^(?:a|abc)$"}}, {"not": {"pattern": "^[^b]{2}"}},
    {"type": "string", "not": {"pattern": "^.{2,3}$"}}, {"not": {"pattern": "[a-c]{2}$", "type": "string"}},
    {"type": "string", "not": {"pattern": '"'}}, {"type": "string", "not": {"pattern": "[^a-c]"}},
    {"type": "string", "not": {"pattern": "b{2}$"}}, {"not": {"pattern": "\\s"}},
    {"type": "string", "oneOf": [{"pattern": "^a"}, {"pattern": "c$"}]},
    # conditions
    {"if": {"pattern": "^a"}, "then": {"maxLength": 2}},
    {"type": "object", "properties": {"k": {"enum": ["x", "y", "z"]}, "a": {}, "b": {}}, "if": KIND,
     "then": {"required": ["a"]}, "else": {"required": ["b"]}},
    {"type": "object", "properties": {"k": {}, "a": {}, "b": {}}, "if": {"properties": {"k": {"const": "x"}}},
     "then": {"required": ["a"]}},
    {"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"type": ["number", "null"]}},
    {"if": True, "then": {"type": "string"}}, {"if": {"const": 1}, "else": False},
    {"type": "object", "properties": ABC, "allOf": [
        {"if": {"required": ["a"]}, "then": {"required": ["b"]}},
        {"if": {"required": ["b"]}, "then": {"properties": {"b": {"const": 2}}}}]},
    {"type": "object", "properties": ABC, "dependentRequired": {"a": ["b"]}},
    {"properties": ABC, "dependentRequired": {"a": ["b"], "b": ["c"]}},
    {"properties": ABC, "dependentSchemas": {"a": {"properties": {"b": {"const": 2}}, "required": ["b"]}}},
    {"$schema": "http://json-schema.org/draft-07/schema#", "properties": ABC,
     "dependencies": {"a": ["b"], "c": {"required": ["b"]}}},
    # objects
    {"type": "object", "properties": ABC, "additionalProperties": False, "minProperties": 2},
    {"type": "object", "properties": ABC, "additionalProperties": False, "minProperties": 1, "maxProperties": 1},
    {"type": "object", "properties": ABC, "additionalProperties": False, "maxProperties": 2, "required": ["a"]},
    {"type": "object", "properties": ABC, "additionalProperties": False, "maxProperties": 9},
    {"type": "object", "minProperties": 1}, {"type": "object", "maxProperties": 1}, {"maxProperties": 0},
    {"type": "object", "properties": {"a": {}}, "required": ["a"], "minProperties": 2, "maxProperties": 2},
    {"type": "object", "propertyNames": {"enum": ["a", "k"]}},
    {"type": "object", "propertyNames": {"pattern": "^[ab]+$"}},
    {"type": "object", "properties": {"ab": {}}, "propertyNames": {"maxLength": 1}}, {"propertyNames": False},
    {"type": "object", "propertyNames": {"const": "a"}, "additionalProperties": {"type": "integer"}},
    {"type": "object", "properties": {"ab": {"maximum": 3}}, "patternProperties": {"^a": {"type": "integer"}}},
    {"type": "object", "properties": {"a": {}}, "unevaluatedProperties": False},
    {"type": "object", "properties": {"a": {}}, "unevaluatedProperties": {"type": "integer"}},
    {"type": "object", "properties": {"a": False}}, {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
    # arrays
    {"type": "array", "uniqueItems": False}, {"type": "array", "items": {"type": "integer"}, "uniqueItems": False},
    {"type": "array", "items": {"enum": [1, 2, "a"]}, "uniqueItems": True},
    {"items": {"enum": [1, 2, 1.0]}, "uniqueItems": True, "minItems": 1},
    {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True},
    {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 3}, "uniqueItems": True, "maxItems": 2},
    {"type": "array", "maxItems": 1, "uniqueItems": True},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "uniqueItems": True},
    {"type": "array", "items": {"$ref": "#/$defs/e"}, "uniqueItems": True, "$defs": {"e": {"enum": ["a", "b"]}}},
    {"type": "array", "contains": {"type": "string"}, "maxItems": 3},
    {"type": "array", "contains": {"const": 1}, "minContains": 2, "maxItems": 3},
    {"type": "array", "contains": {"const": 1}, "maxContains": 1, "maxItems": 3},
    {"type": "array", "contains": {"type": "integer"}, "minContains": 0},
    {"contains": {"type": "string"}, "maxItems": 2, "items": {"type": ["string", "integer"]}},
    {"type": "array", "items": {"enum": [1, 2, "a"]}, "contains": {"minLength": 0, "minimum": 1}},
    {"type": "array", "items": {"type": "integer"}, "contains": {"type": "integer"}, "minContains": 2},
    {"type": "array", "contains": {"type": "string"}, "minContains": 0, "maxContains": 0},
    {"type": "array", "contains": True, "maxContains": 2}, {"contains": True},
    {"type": "array", "contains": {"const": 1}, "minContains": 0, "maxContains": 0, "prefixItems": [{}, {"const": 2}]},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": {"type": "string"},
     "contains": {"type": "integer"}},
    {"type": "array", "prefixItems": [{"type": "integer"}], "contains": {"type": "integer"}, "minItems": 1},
    {"type": "array", "prefixItems": [{"const": 1}, {"const": 2}], "contains": {"type": "number"}, "maxContains": 1,
     "items": {"type": "boolean"}},
    {"type": "array", "prefixItems": [{}, {}], "items": False, "contains": {"const": 1}},
    {"items": {"anyOf": [{"const": "a"}, {"const": "b"}, {"type": "null"}]}, "uniqueItems": True},
    {"items": {"type": ["integer", "null"], "minimum": 1, "maximum": 2}, "uniqueItems": True},
    {"items": {"oneOf": [{"const": "a"}, {"enum": [1, "b"]}]}, "uniqueItems": True, "type": "array"},
    {"type": "array", "prefixItems": [{"type": "integer"}], "unevaluatedItems": False},
    {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [{"type": "integer"}],
     "additionalItems": {"type": "string"}},
    # values and references
    {"enum": ["a", "ab", 3, [1, 2], {"a": 1}, None], "minLength": 2}, {"const": {"a": 1, "b": 2}}, {"const": [1, "a"]},
    {"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.5}, {"type": "integer", "multipleOf": 2, "maximum": 5},
    {"minLength": 1, "maxLength": 2, "pattern": "^[a-b]*$", "type": "string"},
    {"properties": {"a": {"$ref": "#/properties/b"}, "b": {"type": "integer"}}},
    {"$defs": {"a/b": {"$anchor": "here", "type": "string"}}, "anyOf": [{"$ref": "#here"}, {"$ref": "#/$defs/a~1b"}]},
    {"$id": "https://example.com/s", "$defs": {"s": {"type": "null"}}, "$ref": "https://example.com/s#/$defs/s"},
    {"title": "t", "description": "d", "default": 1, "x-order": 3, "examples": ["a"], "type": "integer"},
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return byte_tokenizer()


@pytest.fixture(scope="module")
def grammar(tokenizer: Tokenizer) -> Grammar:
    return Grammar(tokenizer, tokenizer.vocab_size, [0])


def orders(value: Any) -> Iterator[str]:
    """The value as text, its properties in every order: a grammar has one."""
    if isinstance(value, dict) and value:
        for names in permutations(value):
            for inner in orders_of([value[name] for name in names]):
                yield "{" + ",".join(f"{json.dumps(name)}:{one}" for name, one in zip(names, inner, strict=True)) + "}"
    else:
        yield json.dumps(value, ensure_ascii=False)


def orders_of(values: list[Any]) -> Iterator[list[str]]:
    if not values:
        yield []
        return
    for first in orders(values[0]):
        for rest in orders_of(values[1:]):
            yield [first, *rest]


def can_write(grammar: Grammar, tokenizer: Tokenizer, constraint: Constraint, text: str) -> bool:
    state = grammar.begin(constraint)
    try:
        for token in tokenizer.encode(text):
            state.take(token)
    except InputError:
        return False
    return state.fulfilled


@pytest.mark.parametrize("schema", EXACT, ids=lambda schema: json.dumps(schema)[:90])
def test_what_is_valid_can_be_written_and_nothing_else(grammar: Grammar, tokenizer: Tokenizer, schema: Any) -> None:
    judge = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    judge.check_schema(schema)
    validator, constraint = judge(schema), Constraint.json_schema(schema)
    told = {True: 0, False: 0}
    for value in VALUES:
        valid = validator.is_valid(value)
        assert any(can_write(grammar, tokenizer, constraint, text) for text in orders(value)) == valid, value
        told[valid] += 1
    assert told[False] and told[True], "the values say nothing of this schema"


@pytest.mark.parametrize("schema", EXACT, ids=lambda schema: json.dumps(schema)[:90])
def test_what_is_rewritten_stays_as_it_is(schema: Any) -> None:
    """Twice is as once, and for the judge it says the same."""
    once = expressible(schema)
    before = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)(schema)
    after = jsonschema.Draft202012Validator(once)
    for value in VALUES:
        assert before.is_valid(value) == after.is_valid(value), (value, once)
    again = jsonschema.Draft202012Validator(expressible(once))
    assert [again.is_valid(value) for value in VALUES] == [after.is_valid(value) for value in VALUES]


@pytest.mark.parametrize(
    ("format_", "good", "bad"),
    [
        ("date", ["2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31"],
         ["2023-02-29", "1900-02-29", "0000-01-01", "2024-04-31", "2024-13-01", "24-01-01"]),
        ("date-time", ["2024-02-29T23:59:59Z", "2024-01-01T00:00:00.123+05:30"],
         ["2023-02-29T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:00:00", "2024-01-01 00:00:00Z"]),
        ("time", ["00:00:00Z", "23:59:59.5-12:00"], ["24:00:00Z", "00:60:00Z", "00:00:00", "12:00:00+24:00"]),
    ],
)  # fmt: skip
def test_days_and_hours_that_there_are(
    grammar: Grammar, tokenizer: Tokenizer, format_: str, good: list[str], bad: list[str]
) -> None:
    constraint = Constraint.json_schema({"type": "string", "format": format_})
    for text in good + bad:
        assert can_write(grammar, tokenizer, constraint, json.dumps(text)) == (text in good), text


def test_numeric_formats_are_bounds(grammar: Grammar, tokenizer: Tokenizer) -> None:
    for format_, low, high in (("int32", -(2**31), 2**31 - 1), ("uint8", 0, 255)):
        constraint = Constraint.json_schema({"type": "integer", "format": format_})
        for value, good in ((low, True), (high, True), (low - 1, False), (high + 1, False)):
            assert can_write(grammar, tokenizer, constraint, str(value)) == good, (format_, value)


def test_null_beside_the_type_where_openapi_says_nullable(grammar: Grammar, tokenizer: Tokenizer) -> None:
    constraint = Constraint.json_schema({"type": "string", "nullable": True})
    assert can_write(grammar, tokenizer, constraint, "null") and can_write(grammar, tokenizer, constraint, '"a"')
    assert not can_write(grammar, tokenizer, constraint, "1")


@pytest.mark.filterwarnings("ignore:Possible set intersection:FutureWarning")  # of Python, about `[[`
@pytest.mark.parametrize(
    "pattern",
    ['^[^"]*$', r"^[^\\\n]*$", "^[^a-z]+$", r"^[\x20-\x21#-~]*$", r"^[a[&&\]]+$", r"^.$", r"^\S+$", r"^\W\D\S$",
     r'^["\\]$', r"^(?:[^,]|\\.)+$", r"^\.[.]$"],
)  # fmt: skip
def test_what_a_pattern_does_not_match_cannot_be_written(grammar: Grammar, tokenizer: Tokenizer, pattern: str) -> None:
    judge = re.compile(pattern.removesuffix("$") + r"\Z")  # Python's $ is before a last end of a line as well
    texts = ['"', "\\", "a", "[", "&", "]", ".", "..", "\n", "\r", "\u2028", "\u00a0", "\u3000", "\x01", "é", 'a"b',
             "a\\b", "&&", "~", "A", "-", "!?", "_-x", "\\n", "\\,", "", "x", "]x"]  # fmt: skip
    constraint = Constraint.json_schema({"type": "string", "pattern": pattern})
    written = [
        text for text in texts if can_write(grammar, tokenizer, constraint, json.dumps(text, ensure_ascii=False))
    ]
    # The ends of lines that a dot of ECMA-262 does not match are matched by Python's.
    dots = {"\r", "\u2028"} if pattern == "^.$" else set()
    assert written == [text for text in texts if judge.search(text) and text not in dots]
    keyed = Constraint.json_schema(
        {"patternProperties": {pattern: True}, "additionalProperties": False, "type": "object"}
    )
    for text in texts:
        asked = json.dumps({text: 1}, ensure_ascii=False)
        assert can_write(grammar, tokenizer, keyed, asked) == (text in written), text


@pytest.mark.parametrize("one", ["a", "[ab]", "[^a]", '"', "\\.", r"\s", r"[^\sa]", r"[\]a]", "-"])
@pytest.mark.parametrize("repeated", ["", "*", "+", "?", "{2}", "{0,1}", "{1,2}", "{2,}"])
def test_what_a_pattern_does_not_find(one: str, repeated: str) -> None:
    """Told by schemas exactly, of a class or character at either end, both or anywhere."""
    texts = ["".join(each) for length in range(5) for each in product('ab". ', repeat=length)]
    for begins, ends in product(("", "^"), ("", "$")):
        pattern = f"{begins}{one}{repeated}{ends}"
        told = without_pattern(portable(pattern))
        assert (told is None) == (not begins and not ends and repeated in ("{2}", "{2,}")), pattern
        for text in texts if told is not None else ():
            assert any(fulfils(text, schema) for schema in told or ()) != bool(re.search(pattern, text)), (
                pattern,
                text,
            )


@pytest.mark.parametrize("inner", ["a", "ab", "(?:a|ab)", "(b|ab|aab)", "(?:a)", "(a\\.|b)", "(a|a)"])
def test_what_does_not_begin_with_literals(inner: str) -> None:
    texts = ["".join(each) for length in range(5) for each in product("ab.", repeat=length)]
    for pattern in (f"^{inner}", f"^{inner}$"):
        told = without_pattern(portable(pattern))
        assert told is not None
        for text in texts:
            assert any(fulfils(text, schema) for schema in told) != bool(re.search(pattern, text)), (pattern, text)


def fulfils(text: str, schema: dict[str, Any]) -> bool:
    fits = schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text))
    return fits and re.search(schema.get("pattern", ""), text) is not None


REFUSED: list[tuple[Any, str, str]] = [
    # (a schema, what is named, where)
    ({"type": "string", "maxLenght": 3}, "maxLenght", "#"),
    ({"properties": {"a": {"requried": []}}}, "requried", "#/properties/a"),
    ({"$defs": {"a": {"foo": 1}}, "$ref": "#/$defs/a"}, "foo", "#/$defs/a"),
    ({"x-guidance": {"lenient": True}}, "x-guidance", "#"),
    ({"type": "string", "contentEncoding": "base64"}, "contentEncoding", "#"),
    ({"$dynamicRef": "#a"}, "$dynamicRef", "#"),
    ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "oneOf", "#"),
    ({"items": {"oneOf": [{"type": "string", "pattern": "ab"}, {"pattern": "bc"}]}}, "oneOf", "#/items"),
    ({"oneOf": [{"type": "object", "additionalProperties": False}, {"type": "object"}]}, "oneOf", "#"),
    ({"type": "number", "not": {"type": "integer"}}, "not", "#"),
    ({"type": "array", "not": {"prefixItems": [{"type": "integer"}]}}, "not", "#"),
    ({"type": "string", "not": {"pattern": "ab"}}, "not", "#"),
    ({"type": "string", "not": {"format": "date"}}, "not", "#"),
    ({"type": "array", "not": {"items": {"type": "string"}}}, "not", "#"),
    ({"type": "object", "not": {"const": {"a": 1}}}, "not", "#"),
    ({"type": "integer", "not": {"multipleOf": 2}}, "not", "#"),
    ({"type": "array", "uniqueItems": True}, "uniqueItems", "#"),
    ({"properties": {"t": {"items": {"type": "string"}, "uniqueItems": True}}}, "uniqueItems", "#/properties/t"),
    ({"items": {"enum": list(range(9))}, "uniqueItems": True}, "uniqueItems", "#"),
    ({"type": "array", "contains": {"type": "string"}}, "contains", "#"),
    ({"minContains": 2}, "minContains", "#"),
    ({"contains": {"pattern": "ab"}, "maxContains": 1, "minContains": 0, "maxItems": 3}, "maxContains", "#"),
    ({"if": {"pattern": "ab"}, "then": {"type": "string"}}, "if", "#"),
    ({"then": {}}, "then", "#"),
    ({"type": "object", "minProperties": 2}, "minProperties", "#"),
    ({"properties": {"a": {}}, "minProperties": 1}, "minProperties", "#"),
    ({"propertyNames": {"format": "date"}}, "propertyNames", "#"),
    ({"patternProperties": {"^a": {}}, "propertyNames": {"maxLength": 2}}, "propertyNames", "#"),
    ({"anyOf": [{}], "unevaluatedProperties": False}, "unevaluatedProperties", "#"),
    ({"contains": {}, "maxItems": 1, "unevaluatedItems": False}, "unevaluatedItems", "#"),
    ({"additionalItems": False}, "additionalItems", "#"),
    ({"type": "strin"}, "type", "#"),
    ({"type": []}, "type", "#"),
    ({"minLength": -1}, "minLength", "#"),
    ({"minItems": "3"}, "minItems", "#"),
    ({"required": True}, "required", "#"),
    ({"enum": "a"}, "enum", "#"),
    ({"anyOf": []}, "anyOf", "#"),
    ({"items": 3}, "items", "#"),
    ({"minimum": 3, "exclusiveMinimum": True}, "exclusiveMinimum", "#"),
    ({"multipleOf": 0}, "multipleOf", "#"),
    ({"properties": {"a/b": {"properties": []}}}, "properties", "#/properties/a~1b"),
    ({"dependentRequired": {"a": "b"}}, "dependentRequired", "#"),
    ({"$ref": "http://example.com/x"}, "$ref", "#"),
    ({"$ref": "#/$defs/none"}, "$ref", "#"),
    ({"$ref": "#nowhere"}, "$ref", "#"),
    ({"$ref": "other.json#/a"}, "$ref", "#"),
    ({"$ref": "#/enum/0", "enum": [1]}, "$ref", "#"),
    ({"format": "shoe-size"}, "format", "#"),
    ({"type": "string", "format": "unknown"}, "format", "#"),
    ({"type": "string", "format": "int32"}, "format", "#"),
    ({"properties": {name: {} for name in "abcdefghijkl"},
      "dependentRequired": {name: ["l"] for name in "abcdefghijk"}}, "allOf", "#"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "keyword", "place"), REFUSED, ids=lambda value: json.dumps(value)[:90])
def test_what_cannot_be_kept_to_is_named_with_its_place(
    grammar: Grammar, schema: Any, keyword: str, place: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        grammar.begin(Constraint.json_schema(schema))
    assert f'"{keyword}" at {place}: ' in str(refused.value)


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"properties": {"a": {"type": "string", "pattern": "(?=a)b"}}}, "#/properties/a"),
        ({"items": {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 5, "maximum": 2}]}}, ""),
        ({"$defs": {"x": {"patternProperties": {"^a": {}, "b$": {}}}}, "$ref": "#/$defs/x"}, "#/$defs/x"),
    ],
)  # fmt: skip
def test_what_llguidance_refuses_has_its_place_too(grammar: Grammar, schema: Any, place: str) -> None:
    if not place:
        grammar.begin(Constraint.json_schema(schema))  # one of the choices is left
        return
    with pytest.raises(ConfigError, match=f"cannot be expressed as a grammar at {place.replace('$', '.')}: "):
        grammar.begin(Constraint.json_schema(schema))


def test_schemas_within_a_grammar_are_kept_to_as_well(grammar: Grammar, tokenizer: Tokenizer) -> None:
    constraint = Constraint.grammar('start: "x" %json {"not": {"type": "string"}}')
    assert can_write(grammar, tokenizer, constraint, "x1") and not can_write(grammar, tokenizer, constraint, 'x"a"')
    with pytest.raises(ConfigError, match='"maxLenght" at #'):
        grammar.begin(Constraint.grammar('start: %json {"type": "string", "maxLenght": 3}'))
    with pytest.raises(ConfigError, match='"x-guidance" at #'):
        grammar.begin(Constraint.grammar('start: %json {"x-guidance": {"lenient": true}, "not": {}}'))


@pytest.mark.parametrize(
    "schema", [{"oneOf": [{"const": 10**400}, {"const": 1}]}, {"not": {"enum": [10**400]}, "type": "integer"}]
)
def test_integers_beyond_every_float_are_integers(schema: dict[str, Any]) -> None:
    assert holds(expressible(schema), 10**400, lambda _: True) is ("oneOf" in schema)
