"""A setting of `Sampling` acts wherever an answer can be asked for: none is forgotten at one place."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tutelage.cli import generate
from tutelage.cli.main import main
from tutelage.cli.transcript import with_value
from tutelage.evaluation.quality.strategies import sampling_of
from tutelage.inference.constraint import Constraint
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.sampling import Sampling, numbers
from tutelage.serving.app import make_app
from tutelage.serving.protocol import ChatRequest

VALUES: dict[str, Any] = {
    "max_tokens": 7, "temperature": 0.5, "top_k": 3, "top_p": 0.5, "min_p": 0.25, "repetition_penalty": 1.5,
    "stop": ("END",), "seed": 9, "presence_penalty": 0.5, "frequency_penalty": 0.25, "no_repeat_ngram": 3,
    "typical_p": 0.5, "top_n_sigma": 1.5, "dry_multiplier": 0.75, "dry_base": 1.5, "dry_allowed_length": 4,
    "dry_breakers": (";",), "xtc_probability": 0.5, "xtc_threshold": 0.25, "mirostat_tau": 5.0, "mirostat_eta": 0.25,
    "logit_bias": ((42, -5.0),), "stop_ids": (3,), "min_tokens": 2, "ignore_eos": True, "top_logprobs": 2,
    "constraint": Constraint.regex("[0-9]+"),
}  # fmt: skip
NEEDED = {"dry_base": "dry_multiplier", "dry_allowed_length": "dry_multiplier", "dry_breakers": "dry_multiplier",
          "xtc_threshold": "xtc_probability", "mirostat_eta": "mirostat_tau"}  # fmt: skip
NAMES = sorted(VALUES)


def with_needed(name: str) -> dict[str, Any]:
    more = {NEEDED[name]: VALUES[NEEDED[name]]} if name in NEEDED else {}
    return {name: VALUES[name], **more}


def test_these_are_all_settings_and_other_values_than_the_standard() -> None:
    assert set(VALUES) == {one.name for one in fields(Sampling)}
    standard = Sampling()
    assert all(getattr(standard, name) != value for name, value in VALUES.items())


@pytest.mark.parametrize("name", NAMES)
def test_in_a_request(name: str) -> None:
    body: dict[str, Any] = {"model": "x", "messages": [{"role": "user", "content": "?"}], **with_needed(name)}
    if name == "constraint":
        body["regex"] = body.pop("constraint").text
    if name == "top_logprobs":
        body["logprobs"] = True
    if name == "logit_bias":
        body["logit_bias"] = {"42": -5.0}
    made = ChatRequest.model_validate(json.loads(json.dumps(body)))
    most = made.max_tokens or 99  # the routes hand it on, as they do what others call it
    assert getattr(made.sampling(most), name) == VALUES[name]


@pytest.mark.parametrize("name", NAMES)
def test_on_the_command_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(generate, "open_model", lambda *_, **__: None)
    monkeypatch.setattr(generate, "set_up", lambda *_: None)
    monkeypatch.setattr(generate, "_made", lambda _, __, how, ___: made.append(how) or [])
    options = {"stop_ids": "stop-id", "dry_breakers": "dry-breaker", "top_logprobs": "logprobs", "constraint": "regex"}
    arguments = ["generate", "text"]
    for one, value in with_needed(name).items():
        option = "--" + options.get(one, one.replace("_", "-"))
        first = value[0] if isinstance(value, tuple) else value
        shown = {"logit_bias": "42=-5", "constraint": "[0-9]+"}.get(one, first)
        arguments += [option] if value is True else [option, str(shown)]
    with pytest.raises(SystemExit):
        main(arguments)
    assert getattr(made[0], name) == VALUES[name]


@pytest.mark.parametrize("name", sorted({*VALUES} - {"constraint"}))
def test_typed_in_a_conversation(name: str) -> None:
    sampling = Sampling(temperature=1)
    for one, value in with_needed(name).items():
        shown = {"logit_bias": "{42: -5}"}.get(one, json.dumps(value[0] if isinstance(value, tuple) else value))
        sampling = with_value(sampling, one, shown)
    assert getattr(sampling, name) == VALUES[name]


@pytest.mark.parametrize("name", sorted({*numbers()} - {"max_tokens", "min_tokens", "seed", "top_logprobs"}))
def test_among_the_ways_that_are_compared(name: str) -> None:
    named = "+".join(f"{one}={value}" for one, value in with_needed(name).items())
    assert getattr(sampling_of(named, 8, 0), name) == VALUES[name]


def test_in_the_panel_of_the_page(lm: LanguageModel) -> None:
    server = TestClient(make_app(lm), base_url="http://127.0.0.1")
    described = server.get("/openapi.json").json()["components"]["schemas"]["ChatRequest"]["properties"]
    panel = {name for name, one in described.items() if one.get("x-setting")}
    # Ids of tokens are nothing that a user of the page knows; alternatives are shown with "Tokens".
    assert panel - {"regex", "grammar"} == {*VALUES} - {"stop_ids", "logit_bias", "top_logprobs", "constraint"}
    assert all(described[name]["description"] for name in panel)
