"""Tools through the official client: what must be called is, what is called comes back, and goes round."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from served import serving
from tool_caller import CALL, OTHER, TOOLS, to_say, tool, tool_model

from tutelage.inference.language_model import LanguageModel
from tutelage.serving.protocol import Limits

MESSAGES: list[Any] = [{"role": "user", "content": "Warm in Bonn?"}]


@pytest.fixture(scope="module")
def model(lm: LanguageModel) -> LanguageModel:
    return tool_model(lm)


@pytest.fixture(scope="module")
def client(model: LanguageModel) -> Iterator[openai.OpenAI]:
    with serving(model, Limits()) as port:
        url = f"http://127.0.0.1:{port}/v1"
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as made:
            yield made


@pytest.fixture
def ask(client: openai.OpenAI, model: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The answer of a model that wants to say `says`; without it, of one that says what comes to its mind."""

    def asked(says: str | None, stream: bool = False, messages: list[Any] = MESSAGES, **fields: Any) -> Any:
        to_say(model, says, monkeypatch)
        settings: Any = {"model": "tutelage", "messages": messages, "temperature": 0 if says else 1, "seed": 3}
        settings = {"max_tokens": 300, **settings, **fields}
        if not stream:
            return client.chat.completions.create(**settings)
        with client.chat.completions.stream(**settings) as events:
            for _ in events:
                pass
            return events.get_final_completion()

    return asked


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_model_calls_comes_back_as_calls(ask: Any, stream: bool) -> None:
    made = ask(f"I look.\n{CALL}{OTHER}", stream, tools=TOOLS).choices[0]
    assert made.finish_reason == "tool_calls" and made.message.content == "I look."
    found = [(one.function.name, json.loads(one.function.arguments)) for one in made.message.tool_calls]
    assert found == [("weather", {"city": "Bonn"}), ("days", {"count": 3})]
    assert len({one.id for one in made.message.tool_calls}) == 2
    alone = ask(CALL, stream, tools=TOOLS).choices[0].message
    assert not alone.content and len(alone.tool_calls) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_text_stays_text(ask: Any, stream: bool) -> None:
    for text in ("It is warm.", "<tool_call>\nno call", CALL.replace("weather", "unknown")):
        made = ask(text, stream, tools=TOOLS).choices[0]
        assert made.message.content == text and not made.message.tool_calls and made.finish_reason == "stop"
    assert ask(CALL, stream, tools=TOOLS, tool_choice="none").choices[0].message.content == CALL
    assert ask(CALL, stream).choices[0].message.content == CALL


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_is_required_comes_with_arguments_of_its_schema(ask: Any, stream: bool) -> None:
    """By a model of chance weights, that would never call anything."""
    choices: list[Any] = ["required", {"type": "function", "function": {"name": "days"}}]
    for choice in choices:
        made = ask(None, stream, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False).choices[0]
        (call,) = made.message.tool_calls
        given = json.loads(call.function.arguments)
        assert made.finish_reason == "tool_calls" and not made.message.content
        if choice == "required" and call.function.name == "weather":
            assert given["city"] in ("Bonn", "Ulm")
        else:
            assert call.function.name == "days" and given["count"] <= 99


def test_strict_tools_hold_a_free_answer_to_their_schema(ask: Any) -> None:
    wrong = CALL.replace("Bonn", "Paris")
    loose = ask(wrong, tools=TOOLS).choices[0].message.tool_calls[0]
    assert json.loads(loose.function.arguments) == {"city": "Paris"}
    strict = [tool("weather", True, city={"enum": ["Bonn", "Ulm"]})]
    made = ask(wrong, tools=strict, max_tokens=len(wrong) + 20).choices[0].message
    assert made.tool_calls and '"Paris' not in made.tool_calls[0].function.arguments
    assert ask("It is warm.", tools=strict).choices[0].message.content == "It is warm."


def test_calls_and_their_results_go_round(ask: Any, model: Any) -> None:
    first = ask(CALL, tools=TOOLS).choices[0].message
    told = [*MESSAGES, first, {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": '{"degrees": 31}'}]
    made = ask("Yes, 31 degrees.", messages=told, tools=TOOLS)
    assert made.choices[0].message.content == "Yes, 31 degrees."
    dumped = [*MESSAGES, first.model_dump(), told[-1]]
    assert ask("Yes, 31 degrees.", messages=dumped, tools=TOOLS).usage.prompt_tokens == made.usage.prompt_tokens


def test_a_cut_call_is_as_far_as_it_came(ask: Any) -> None:
    made = ask(CALL, tools=TOOLS, max_tokens=len(CALL) - 20).choices[0]
    assert made.finish_reason == "length"
    assert '{"city": "Bonn"}'.startswith(made.message.tool_calls[0].function.arguments)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "else"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "same name"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "name"),
        ({"tools": [{"type": "retrieval"}]}, "tools"),
        ({"tools": TOOLS, "response_format": {"type": "json_object"}}, "exclude"),
        ({"tools": TOOLS, "tool_choice": "required", "functions": []}, None),
        ({"tools": [TOOLS[0], tool("x", city={"type": "string", "not": {"pattern": "ab"}})], "tool_choice": "required"},
         "tools: x: this json schema cannot be expressed as a grammar: \"not\" at #/properties/city: "),
        ({"tools": [tool("x", a={"enum": ["<|im_end|>"]})]}, "<|im_end|>"),
        ({"messages": [*MESSAGES, {"role": "tool", "content": "x", "tool_call_id": "none"}]}, "tool_call_id"),
        ({"messages": [*MESSAGES, {"role": "tool", "content": "x"}]}, "tool_call_id"),
        ({"messages": [*MESSAGES, {"role": "assistant"}]}, "content"),
        ({"messages": [*MESSAGES, {"role": "assistant", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "[]"}}]}]}, "object"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(ask: Any, fields: Any, named: str | None) -> None:
    if named is None:
        assert ask(None, **fields).choices
        return
    with pytest.raises(openai.BadRequestError) as refused:
        ask("x", **fields)
    assert named in str(refused.value)


def test_a_model_whose_template_knows_no_tools_says_so(lm: LanguageModel) -> None:
    with serving(lm, Limits()) as port:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="knows no tools"):
            client.chat.completions.create(model="tutelage", messages=MESSAGES, tools=TOOLS)
