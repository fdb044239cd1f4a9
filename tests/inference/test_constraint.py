"""Constrained answers: always of the form that was asked for, whatever the model would like to say."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import schemas
import torch
from small_vocabularies import VOCABULARIES, WORDPIECE, random_lm

from tutelage.inference.choosing import Chooser, choose
from tutelage.inference.constraint import Constraint
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.results import Generation
from tutelage.inference.sampling import Sampling
from tutelage.store.errors import ConfigError, InputError

pytest.importorskip("llguidance")
jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module", params=sorted(VOCABULARIES))
def writer(request: pytest.FixtureRequest) -> LanguageModel:
    """A random model on a vocabulary of each kind."""
    return random_lm(VOCABULARIES[request.param]())


def ending(lm: LanguageModel) -> dict[int, float]:
    """A bias towards what ends strings, numbers, lists and objects: a random model would seldom come to an end."""
    table = [lm.tokenizer.token_bytes(index) for index in range(lm.tokenizer.vocab_size)]
    closing = {index: 4.0 for index, token in enumerate(table) if token and set(token) <= set(b'"]},')}
    return closing | dict.fromkeys(lm.stop_ids, 6.0)


def answers(lm: LanguageModel, constraint: Constraint, count: int = 1, **settings: Any) -> list[Generation]:
    given = {"temperature": 1.0, "logit_bias": ending(lm), "max_tokens": 1500, **settings}
    return lm.generate(["x"] * count, Sampling(constraint=constraint, **given))


def require_valid(lm: LanguageModel, seed: int, **settings: Any) -> None:
    schema = schemas.draw_schema(seed)
    kind = jsonschema.Draft202012Validator
    kind.check_schema(schema)
    validator = kind(schema, format_checker=kind.FORMAT_CHECKER)
    for answer in answers(lm, Constraint.json_schema(schema), seed=seed, **settings):
        assert answer.stop_reason == "stop", (seed, schema, answer.text[-200:])
        found = sorted(validator.iter_errors(json.loads(answer.text)), key=str)
        assert not found, (seed, answer.text, found[0].message)


@pytest.mark.parametrize("seed", range(100))
def test_a_hundred_schemas_of_growing_difficulty(seed: int) -> None:
    lm = random_lm(VOCABULARIES["bytes"]())
    require_valid(lm, seed)


@pytest.mark.parametrize("seed", range(3, 500, 50))
def test_schemas_on_every_kind_of_vocabulary(writer: LanguageModel, seed: int) -> None:
    require_valid(writer, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(500))
def test_five_hundred_schemas_on_every_kind_of_vocabulary(writer: LanguageModel, seed: int) -> None:
    require_valid(writer, seed)


@pytest.mark.parametrize(
    "pattern", ["[a-c]{3,6}x?", "(yes|no), .{2,4}[.!]", r"\d{4}-[\d.]\d", "ü+é?", '"[^"]*"', r"\\d\D\W"]
)
def test_the_pattern_matches_the_whole_answer(writer: LanguageModel, pattern: str) -> None:
    for answer in answers(writer, Constraint.regex(pattern), 8, max_tokens=300):
        assert answer.stop_reason == "stop" and re.fullmatch(pattern, answer.text, re.ASCII), answer.text


def test_choices_and_grammars(writer: LanguageModel) -> None:
    texts = ["yes", "no", 'say "it"', "übel\n"]
    found = {answer.text for answer in answers(writer, Constraint.choices(texts), 30)}
    assert found <= set(texts) and len(found) > 1
    grammar = 'start: sum\nsum: NUMBER ("+" NUMBER)*\nNUMBER: /[0-9]{1,3}/'
    for answer in answers(writer, Constraint.grammar(grammar), 8, max_tokens=400):
        assert re.fullmatch(r"\d{1,3}(\+\d{1,3})*", answer.text)


def test_greedy_and_penalised_answers_are_valid_too() -> None:
    lm = random_lm(VOCABULARIES["bytes"]())
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "yy"]}, "b": {"type": "boolean"}},
              "required": ["a", "b"], "additionalProperties": False}  # fmt: skip
    constraint = Constraint.json_schema(schema)
    for sampling in (
        Sampling(constraint=constraint, logit_bias=ending(lm), max_tokens=500),
        Sampling(constraint=constraint, logit_bias=ending(lm), max_tokens=500, no_repeat_ngram=1, presence_penalty=2.0),
        Sampling(constraint=constraint, logit_bias=ending(lm), max_tokens=500, temperature=1.0, mirostat_tau=1.0),
    ):
        (answer,) = lm.generate(["x"], sampling)
        assert answer.stop_reason == "stop"
        jsonschema.validate(json.loads(answer.text), schema)


def test_the_stop_token_comes_only_where_the_answer_may_end(lm: LanguageModel) -> None:
    chooser = Chooser(Sampling(constraint=Constraint.regex("ab?")), [5], lm.table)
    wants_to_stop = torch.zeros(1, lm.config.vocab_size)
    wants_to_stop[0, list(lm.stop_ids)] = 9.0
    assert lm.tokenizer.decode([choose(wants_to_stop, [chooser])[0].id]) == "a"
    assert choose(wants_to_stop, [chooser])[0].id in lm.stop_ids


def test_sequences_of_different_constraints_in_one_batch_stay_apart(lm: LanguageModel) -> None:
    patterns = ["a{3}", "b{2}", "c{5}"]
    choosers = [Chooser(Sampling(constraint=Constraint.regex(one)), [5], lm.table, n) for n, one in enumerate(patterns)]
    logits = torch.zeros(3, lm.config.vocab_size)
    steps = [[chosen.id for chosen in choose(logits, choosers)] for _ in range(2)]
    assert [lm.tokenizer.decode(list(ids)) for ids in zip(*steps, strict=True)] == ["aa", "bb", "cc"]


def test_columns_beyond_the_tokenizer_are_never_chosen() -> None:
    lm = random_lm(VOCABULARIES["bytes"](), padding=13)
    for answer in answers(lm, Constraint.regex("[a-z]{5}"), 5):
        assert max(answer.ids) < lm.tokenizer.vocab_size and re.fullmatch("[a-z]{5}", answer.text)


@pytest.mark.parametrize(
    ("constraint", "named"),
    [
        (Constraint.json_schema({"type": "array", "uniqueItems": True}), "schema cannot be expressed.*uniqueItems"),
        (Constraint.json_schema({"type": "string", "not": {"pattern": "ab"}}), '"not" at #'),
        (Constraint.json_schema({"type": "integer", "minimum": 5, "maximum": 2}), "minimum .5. is greater than max"),
        (Constraint.json_schema({"$ref": "http://example.com/x"}), "example.com"),
        (Constraint.json_schema({"type": "string", "format": "shoe-size"}), "'shoe-size' is not known"),
        (Constraint.json_schema({"$ref": "#"}), "no answer fulfils this json schema"),
        (Constraint.json_schema('{"items":' * 200 + "{}" + "}" * 200), "recursion limit"),
        (Constraint.regex("(" * 5000 + "a" + ")" * 5000), "regex cannot be used"),
        (Constraint.regex("(?=a)b"), "look-around"),
        (Constraint.regex("(a"), "regex"),
        (Constraint.grammar("start: " + "(" * 5000 + '"a"' + ")" * 5000), "too deeply nested"),
        (Constraint.grammar("begin: A"), "grammar cannot be used"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_cannot_be_expressed_is_named(lm: LanguageModel, constraint: Constraint, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        lm.generate(["x"], Sampling(constraint=constraint))


def test_a_constraint_too_large_to_follow_is_named(lm: LanguageModel) -> None:
    with pytest.raises(InputError, match="constraint could not be followed: lexer error: too many expressions"):
        lm.generate(["x"], Sampling(constraint=Constraint.regex("a{100000}b{100000}c{100000}(d|e){100000}")))


def test_vocabularies_that_cannot_be_constrained_are_named(lm: LanguageModel) -> None:
    from tutelage.inference.choosing import TokenTable

    sampling = Sampling(constraint=Constraint.regex("a"))
    with pytest.raises(ConfigError, match="tokens, joined, are the text"):
        random_lm(WORDPIECE()).generate(["x"], sampling)
    with pytest.raises(ConfigError, match="constraint requires the model's tokenizer"):
        Chooser(sampling, [5], TokenTable(9, [1]))
    with pytest.raises(ConfigError, match="needs a stop token"):
        Chooser(sampling, [5], TokenTable(lm.config.vocab_size, [], lm.tokenizer))


def test_a_token_that_is_not_allowed_is_named(lm: LanguageModel) -> None:
    chooser = Chooser(Sampling(constraint=Constraint.regex("ab?")), [5], lm.table)
    with pytest.raises(InputError, match="token 9 is not allowed here"):
        chooser.take(9)


def test_without_llguidance_the_command_to_install_it_is_said(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tutelage.inference.choosing import TokenTable

    monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
    fresh = TokenTable(lm.config.vocab_size, lm.stop_ids, lm.tokenizer)
    with pytest.raises(ConfigError, match=r"pip install 'tutelage\[grammar\]'"):
        Chooser(Sampling(constraint=Constraint.regex("a")), [5], fresh)


@pytest.mark.parametrize("seed", range(40))
def test_conditions_choices_and_exclusions(seed: int) -> None:
    """oneOf, not, if, dependentRequired, contains and the like, put together by chance."""
    schema = schemas.draw_conditional(seed)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    lm = random_lm(VOCABULARIES["bytes"]())
    for answer in answers(lm, Constraint.json_schema(schema), 4, seed=seed):
        assert answer.stop_reason == "stop", (schema, answer.text[-200:])
        found = sorted(validator.iter_errors(json.loads(answer.text)), key=str)
        assert not found, (answer.text, found[0].message)
