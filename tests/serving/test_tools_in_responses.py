"""Tools of /v1/responses through the official client: whole, streamed, typed, asynchronous, and round again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel
from served import serving
from tool_caller import CALL, OTHER, TOOLS, to_say, tool, tool_model

from tutelage.inference.language_model import LanguageModel
from tutelage.serving.protocol import Limits

FLAT: list[Any] = [{"type": "function", **one["function"]} for one in TOOLS]
NAMED = {"type": "function", "name": "days"}


@pytest.fixture(scope="module")
def model(lm: LanguageModel) -> LanguageModel:
    return tool_model(lm)


@pytest.fixture(scope="module")
def url(model: LanguageModel) -> Iterator[str]:
    with serving(model, Limits(messages=20)) as port:
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def ask(client: openai.OpenAI, model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The response of a model that wants to say `says`; with `stream` as the client's helper puts it together."""

    def asked(says: str | None, stream: bool = False, **fields: Any) -> Any:
        to_say(model, says, monkeypatch)
        settings = settings_of(says, **fields)
        if not stream:
            return client.responses.create(**settings)
        with client.responses.stream(**settings) as events:
            return events.get_final_response()

    return asked


def settings_of(says: str | None, **fields: Any) -> dict[str, Any]:
    settings = {"model": "tutelage", "input": "Warm in Bonn?", "temperature": 0 if says else 1, "tools": FLAT}
    return {**settings, "max_output_tokens": 300, **fields}


def kinds(response: Any) -> list[str]:
    return [item.type for item in response.output]


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_model_calls_comes_back_as_items(ask: Any, stream: bool) -> None:
    made = ask(f"I look.\n{CALL}{OTHER}", stream)
    assert kinds(made) == ["message", "function_call", "function_call"] and made.status == "completed"
    assert made.output_text == "I look." and all(item.status == "completed" for item in made.output)
    found = [(one.name, json.loads(one.arguments)) for one in made.output[1:]]
    assert found == [("weather", {"city": "Bonn"}), ("days", {"count": 3})]
    assert len({one.call_id for one in made.output[1:]}) == 2 and len({one.id for one in made.output}) == 3
    assert kinds(ask(CALL, stream)) == ["function_call"]
    for text in ("It is warm.", CALL.replace("weather", "unknown")):
        assert kinds(ask(text, stream)) == ["message"] and ask(text, stream).output_text == text
    assert ask(CALL, stream, tool_choice="none").output_text == CALL
    assert ask(CALL, stream, tools=[]).output_text == CALL


def test_the_events_of_a_stream(client: openai.OpenAI, ask: Any) -> None:
    whole = ask(f"I look.\n{CALL}{OTHER}")
    events = list(client.responses.create(**settings_of("x"), stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    order = [event.type.removeprefix("response.") for event in events]
    added = [at for at, kind in enumerate(order) if kind == "output_item.added"]
    done = [at for at, kind in enumerate(order) if kind == "output_item.done"]
    assert len(added) == 3 and all(a < d for a, d in zip(added, done, strict=True))
    assert all(d < a for d, a in zip(done, added[1:], strict=False)), "an item begins when the one before is whole"
    for at in (1, 2):
        of_it: list[Any] = [event for event in events if getattr(event, "output_index", None) == at]
        item = whole.output[at]
        deltas = [one.delta for one in of_it if one.type == "response.function_call_arguments.delta"]
        (said,) = [one for one in of_it if one.type == "response.function_call_arguments.done"]
        assert len(deltas) > 1 and "".join(deltas) == said.arguments == item.arguments
        assert of_it[0].item.arguments == "" and of_it[0].item.status == "in_progress"
        assert of_it[-1].item.model_dump(exclude={"id", "call_id"}) == item.model_dump(exclude={"id", "call_id"})
        assert {one.item_id for one in of_it[1:-1]} == {of_it[0].item.id}
    last: Any = events[-1]
    assert last.type == "response.completed" and kinds(last.response) == kinds(whole)


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_are_those_of_the_text_and_not_of_the_calls(ask: Any, stream: bool) -> None:
    asked = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    made = ask(f"I look.\n{CALL}", stream, **asked)
    (part,) = made.output[0].content
    assert "".join(one.token for one in part.logprobs) == part.text == "I look."
    assert [len(one.top_logprobs) for one in part.logprobs] == [2] * len(part.logprobs)
    (part,) = ask(f"{CALL}It is warm.", stream, **asked).output[1].content
    assert "".join(one.token for one in part.logprobs) == part.text == "It is warm."
    text = "1 <tool_ 2"  # what may begin a call is held back, and given out with its tokens when it is none
    (part,) = ask(text, stream, **asked).output[0].content
    assert "".join(one.token for one in part.logprobs) == part.text == text


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_a_call_that_is_required_comes_with_arguments_of_its_schema(ask: Any, choice: Any) -> None:
    """By a model of chance weights, that would never call anything."""
    made = ask(None, tool_choice=choice, parallel_tool_calls=False)
    (call,) = made.output
    assert call.type == "function_call" and call.name in ("days", "weather") and json.loads(call.arguments)
    assert choice == "required" or call.name == "days"
    told = made.tool_choice if isinstance(made.tool_choice, str) else made.tool_choice.model_dump()
    assert told == choice and made.parallel_tool_calls is False
    assert [(one.name, one.strict) for one in made.tools] == [("weather", False), ("days", False)]


def test_strict_tools_and_one_call_only_hold_a_free_answer(ask: Any) -> None:
    wrong = CALL.replace("Bonn", "Paris")
    assert json.loads(ask(wrong).output[0].arguments) == {"city": "Paris"}
    strict = [{"type": "function", **tool("weather", True, city={"enum": ["Bonn", "Ulm"]})["function"]}]
    made = ask(wrong, tools=strict, max_output_tokens=len(wrong) + 20)
    assert '"Paris' not in made.output[0].arguments and made.tools[0].strict
    assert kinds(ask(CALL + OTHER, parallel_tool_calls=False)) == ["function_call"]


def test_a_cut_call_is_as_far_as_it_came(ask: Any, client: openai.OpenAI) -> None:
    cut = len(CALL) - 20
    whole = ask(CALL, max_output_tokens=cut)
    *_, last = client.responses.create(**settings_of(CALL, max_output_tokens=cut), stream=True)
    assert last.type == "response.incomplete"  # the helper of streams takes no such end
    for made in (whole, last.response):
        assert (made.status, made.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert made.output[0].status == "incomplete" and '{"city": "Bonn"}'.startswith(made.output[0].arguments)


@pytest.mark.parametrize("dumped", [False, True])
def test_calls_and_their_outputs_go_round_as_in_chat(ask: Any, client: openai.OpenAI, dumped: bool) -> None:
    first = ask(f"I look.\n{CALL}{OTHER}")
    said: list[Any] = [one.model_dump() if dumped else one for one in first.output]
    outputs = [
        {"type": "function_call_output", "call_id": first.output[1].call_id, "output": "31 degrees"},
        {"type": "function_call_output", "call_id": first.output[2].call_id,
         "output": [{"type": "input_text", "text": "3"}]},
    ]  # fmt: skip
    made = ask("Yes.", input=[{"role": "user", "content": "Warm in Bonn?"}, *said, *outputs])
    assert made.output_text == "Yes."
    calls: Any = [{"id": one.call_id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
                  for one in first.output[1:]]  # fmt: skip
    messages: Any = [
        {"role": "user", "content": "Warm in Bonn?"},
        {"role": "assistant", "content": "I look.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": "31 degrees"},
        {"role": "tool", "tool_call_id": calls[1]["id"], "content": "3"},
    ]
    chat = client.chat.completions.create(model="tutelage", messages=messages, tools=TOOLS, max_tokens=1)
    assert chat.usage is not None and made.usage.input_tokens == chat.usage.prompt_tokens


def test_typed_arguments(client: openai.OpenAI, model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    class Weather(BaseModel):
        city: str

    to_say(model, CALL, monkeypatch)
    typed: Any = [openai.pydantic_function_tool(Weather, name="weather")]
    made = client.responses.parse(**settings_of(CALL, tools=typed))
    call: Any = made.output[0]
    assert call.type == "function_call" and call.parsed_arguments == Weather(city="Bonn")


def test_the_asynchronous_client(url: str, model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    to_say(model, CALL + OTHER, monkeypatch)

    async def ask() -> tuple[Any, Any]:
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as made:
            whole = await made.responses.create(**settings_of(CALL))
            async with made.responses.stream(**settings_of(CALL)) as events:
                return whole, await events.get_final_response()

    whole, streamed = asyncio.run(ask())
    told = [[(one.name, one.arguments) for one in response.output] for response in (whole, streamed)]
    assert told[0] == told[1] == [("weather", '{"city": "Bonn"}'), ("days", '{"count": 3}')]


CALLED = {"type": "function_call", "call_id": "1", "name": "weather", "arguments": "{}"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": {"type": "function", "name": "else"}}, "tool_choice"),
        ({"tool_choice": "required", "tools": []}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, "tool_choice.type"),
        ({"tools": [FLAT[0], FLAT[0]]}, "tools"),
        ({"tools": [{"type": "web_search", "search_context_size": "low"}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools.0.name"),
        ({"tools": [TOOLS[0]]}, "tools.0.function"),
        ({"tools": [{"type": "function", "name": "x", "defer_loading": True}]}, "tools.0.defer_loading"),
        ({"text": {"format": {"type": "json_object"}}}, "tools"),
        ({"max_tool_calls": 1}, "max_tool_calls"),
        ({"input": [CALLED, {"type": "function_call_output", "call_id": "2", "output": "x"}]}, "input.1.call_id"),
        ({"input": [CALLED, {"type": "function_call_output", "call_id": "1"}]}, "input.1.output"),
        ({"input": [{**CALLED, "arguments": "[]"}]}, "input.0"),
        ({"input": [{**CALLED, "namespace": "x"}]}, "input.0.namespace"),
        ({"input": [{"type": "reasoning", "id": "1", "summary": []}]}, "input.0"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role"),
        ({"input": [CALLED] * 21}, "input"),
    ],
)
def test_what_cannot_be_is_refused_by_name(ask: Any, fields: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask("x", **fields)
    assert refused.value.param == param


def test_a_model_whose_template_knows_no_tools_says_so(lm: LanguageModel) -> None:
    with serving(lm, Limits()) as port:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="knows no tools"):
            client.responses.create(model="tutelage", input="x", tools=FLAT)
