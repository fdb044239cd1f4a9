"""Every endpoint through the official `openai` client: plain, asynchronous, streamed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from served import classifier_of, serving

from tutelage.inference.language_model import LanguageModel
from tutelage.inference.sampling import Sampling
from tutelage.serving.protocol import Limits

MESSAGES: list[Any] = [{"role": "user", "content": "why?"}]
CHAT: dict[str, Any] = {"model": "tutelage", "messages": MESSAGES, "temperature": 0, "max_tokens": 12}
KEY = "secret"


@pytest.fixture
def url(lm: LanguageModel) -> Iterator[str]:
    classifiers = {"spam": classifier_of(lm)}
    with serving(lm, Limits(waiting=8, body_bytes=100_000), api_key=KEY, classifiers=classifiers) as port:
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as made:
        yield made


def test_a_conversation_goes_round_with_the_clients_own_messages(client: openai.OpenAI, lm: LanguageModel) -> None:
    answer = client.chat.completions.create(**CHAT, user="ann", metadata={"k": "v"}, store=False, tools=[])
    message = answer.choices[0].message
    expected = lm.chat(MESSAGES, Sampling(max_tokens=12))
    assert (message.content, answer.choices[0].finish_reason) == (expected.text, expected.stop_reason)
    told = [*MESSAGES, message, {"role": "user", "content": "and?"}]
    again = client.chat.completions.create(**{**CHAT, "messages": told})
    dumped = [*MESSAGES, message.model_dump(), {"role": "user", "content": "and?"}]
    assert client.chat.completions.create(**{**CHAT, "messages": dumped}).choices == again.choices
    whole = [{"role": "user", "content": "why?"}, {"role": "assistant", "content": expected.text}, told[-1]]
    assert again.choices[0].message.content == lm.chat(whole, Sampling(max_tokens=12)).text


def test_a_stream_and_its_usage(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**CHAT, logprobs=True, extra_body={"cache_salt": "whole"})
    text, tokens, usage = "", [], None
    for chunk in client.chat.completions.create(
        **CHAT, logprobs=True, stream=True, stream_options={"include_usage": True}, extra_body={"cache_salt": "stream"}
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            tokens += choice.logprobs.content or [] if choice.logprobs else []
    assert text == whole.choices[0].message.content and usage == whole.usage
    assert whole.choices[0].logprobs and tokens == whole.choices[0].logprobs.content


def test_the_stream_helper_puts_the_answer_together(client: openai.OpenAI) -> None:
    text = client.chat.completions.create(**CHAT).choices[0].message.content or ""
    # The helper takes an answer that was cut for an error: this one ends at a stop string.
    with client.chat.completions.stream(**CHAT, stop=text[-1]) as stream:
        for _ in stream:
            pass
        made = stream.get_final_completion()
    assert made.choices[0].message.content == text[: text.find(text[-1])]


def test_a_plain_completion_whole_and_streamed(client: openai.OpenAI, lm: LanguageModel) -> None:
    fields: dict[str, Any] = {"model": "tutelage", "prompt": "abc", "temperature": 0, "max_tokens": 9}
    whole = client.completions.create(**fields)
    assert whole.choices[0].text == lm.generate(["abc"], Sampling(max_tokens=9))[0].text
    assert (
        "".join(one.choices[0].text for one in client.completions.create(**fields, stream=True))
        == whole.choices[0].text
    )


def test_a_completion_of_ids_is_that_of_their_text(client: openai.OpenAI, lm: LanguageModel) -> None:
    fields: dict[str, Any] = {"model": "tutelage", "temperature": 0, "max_tokens": 9}
    whole = client.completions.create(**fields, prompt=lm.prompt_ids("abc"))
    assert whole.choices[0].text == client.completions.create(**fields, prompt="abc").choices[0].text
    for wrong in ([10**6], [-1]):
        with pytest.raises(openai.BadRequestError) as refused:
            client.completions.create(**fields, prompt=wrong)
        assert str(refused.value.param).startswith("prompt")


def test_a_response_whole_and_streamed(client: openai.OpenAI, lm: LanguageModel) -> None:
    fields: Any = {"model": "tutelage", "input": "why?", "instructions": "be brief", "max_output_tokens": 9}
    fields["temperature"] = 0
    made = client.responses.create(**fields)
    turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why?"}]
    expected = lm.chat(turns, Sampling(max_tokens=9))
    assert made.output_text == expected.text
    assert made.usage is not None and made.usage.output_tokens == len(expected.ids)
    assert (made.status == "incomplete") == (expected.stop_reason == "length")
    events = list(client.responses.create(**fields, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created" and events[-1].type == f"response.{made.status}"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == made.output_text == events[-1].response.output_text
    with client.responses.stream(**fields) as stream:
        assert stream.get_final_response().output_text == made.output_text


def test_a_response_is_sent_back_and_goes_on(client: openai.OpenAI, lm: LanguageModel) -> None:
    first = client.responses.create(model="tutelage", input="why?", temperature=0, max_output_tokens=5)
    turns: Any = [{"role": "user", "content": "why?"}, *[item.model_dump() for item in first.output],
                  {"role": "user", "content": [{"type": "input_text", "text": "and?"}]}]  # fmt: skip
    second = client.responses.create(model="tutelage", input=turns, temperature=0, max_output_tokens=5)
    plain = [{"role": "user", "content": "why?"}, {"role": "assistant", "content": first.output_text},
             {"role": "user", "content": "and?"}]  # fmt: skip
    assert second.output_text == lm.chat(plain, Sampling(max_tokens=5)).text


def test_a_response_of_a_form_and_what_is_refused(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    form: Any = {"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}}
    made = client.responses.create(model="tutelage", input="why?", text=form, max_output_tokens=30)
    assert made.output_text.split() in (["{}"], ["{", "}"]) or made.status == "incomplete"
    for fields, name in (
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"max_output_tokens": 0}, "max_output_tokens"), ({"input": []}, "input"),
        ({"truncation": "auto"}, "truncation"), ({"tools": [{"type": "x"}]}, "tools"),
        ({"top_logprobs": 3}, "top_logprobs"), ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"top_logprobs": 21, "include": LOGPROBS}, "top_logprobs"), ({"store": True}, "store"),
    ):  # fmt: skip
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(**{"model": "tutelage", "input": "why?", **fields})
        assert name in str(refused.value.param or refused.value.message)


LOGPROBS: Any = ["message.output_text.logprobs"]


@pytest.mark.parametrize("top", [0, 3])
def test_log_probabilities_of_a_response_are_those_of_a_chat(client: openai.OpenAI, top: int) -> None:
    fields: Any = {"model": "tutelage", "input": "why?", "temperature": 0, "max_output_tokens": 12}
    asked: Any = {"include": LOGPROBS, "top_logprobs": top}
    said = client.chat.completions.create(**CHAT, logprobs=True, top_logprobs=top).choices[0].logprobs
    assert said is not None and said.content
    expected = [one.model_dump() for one in said.content]
    made = client.responses.create(**fields, **asked)
    part: Any = made.output[0].content[0]  # type: ignore[union-attr, index]
    assert [one.model_dump() for one in part.logprobs] == expected and len(expected[0]["top_logprobs"]) == top
    assert made.top_logprobs == top
    streamed: list[Any] = list(client.responses.create(**fields, **asked, stream=True))
    deltas = [event for event in streamed if event.type == "response.output_text.delta"]
    (done,) = [event for event in streamed if event.type == "response.output_text.done"]
    assert [one.model_dump() for event in deltas for one in event.logprobs] == expected
    assert all(event.logprobs for event in deltas) and [one.model_dump() for one in done.logprobs] == expected
    assert [one.model_dump() for one in streamed[-1].response.output[0].content[0].logprobs] == expected
    again = [{"role": "user", "content": "why?"}, *[item.model_dump() for item in made.output], *MESSAGES]
    assert client.responses.create(**{**fields, "input": again}).output_text
    without: Any = client.responses.create(**fields, include=[]).output[0]
    assert without.content[0].logprobs == []


def test_metadata_of_a_response_comes_back(client: openai.OpenAI) -> None:
    fields: Any = {"model": "tutelage", "input": "why?", "max_output_tokens": 2}
    assert client.responses.create(**fields, metadata={"a": "b"}).metadata == {"a": "b"}


def test_models(client: openai.OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["tutelage"]
    assert client.models.retrieve("tutelage").owned_by == "tutelage"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_embeddings_packed_by_default_and_plain(client: openai.OpenAI) -> None:
    packed = client.embeddings.create(model="tutelage", input=["a", "b"])
    plain = client.embeddings.create(model="tutelage", input=["a", "b"], encoding_format="float")
    assert packed.usage == plain.usage
    for one, other in zip(packed.data, plain.data, strict=True):
        np.testing.assert_array_equal(np.float32(one.embedding), np.float32(other.embedding))


def test_decisions(client: openai.OpenAI) -> None:
    question: Any = {"type": "choice", "instructions": "", "choices": [{"value": "ham"}, {"value": "spam"}]}
    made = client.decisions.create(model="spam", input="win", questions=[question])
    answer = made.answers[0]
    assert answer.type == "choice" and answer.choice in ("ham", "spam") and made.usage.total_tokens > 0
    assert sum(one.probability for one in answer.probabilities) == pytest.approx(1)


def test_errors_are_the_clients_own(client: openai.OpenAI, url: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**CHAT, tool_choice="required")
    assert caught.value.param == "tool_choice"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**CHAT, store=True)
    assert caught.value.param == "store" and caught.value.code == "unsupported_field"
    with openai.OpenAI(base_url=url, api_key="wrong") as other, pytest.raises(openai.AuthenticationError):
        other.models.list()


@pytest.mark.parametrize("what", ["chat", "completions", "embeddings", "models", "decisions"])
def test_the_asynchronous_client_gets_the_same(client: openai.OpenAI, url: str, what: str) -> None:
    question: Any = {"type": "predicate", "instructions": "", "name": "ham"}

    def call(of: Any) -> Any:
        calls = {
            "chat": lambda: of.chat.completions.create(**CHAT),
            "completions": lambda: of.completions.create(model="tutelage", prompt="abc", temperature=0, max_tokens=9),
            "embeddings": lambda: of.embeddings.create(model="tutelage", input="a"),
            "models": lambda: of.models.list(),
            "decisions": lambda: of.decisions.create(model="spam", input="a", questions=[question]),
        }
        return calls[what]()

    async def ask() -> Any:
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as made:
            return await call(made)

    def told(answer: Any) -> Any:
        return {name: value for name, value in answer.model_dump().items() if name not in ("id", "created")}

    assert told(asyncio.run(ask())) == told(call(client))


def test_asynchronous_streams_at_once_do_not_mix(client: openai.OpenAI, url: str) -> None:
    asked = ["a", "bb", "ccc", "dddd"]

    async def one(made: openai.AsyncOpenAI, text: str) -> str:
        messages: Any = [{"role": "user", "content": text}]
        stream = await made.chat.completions.create(**{**CHAT, "messages": messages}, stream=True)
        return "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices])

    async def all_at_once() -> list[str]:
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY) as made:
            return list(await asyncio.gather(*(one(made, text) for text in asked)))

    alone = [
        client.chat.completions.create(**{**CHAT, "messages": [{"role": "user", "content": text}]}) for text in asked
    ]
    assert asyncio.run(all_at_once()) == [answer.choices[0].message.content for answer in alone]


def test_a_client_that_is_turned_away_comes_again(slow: Any) -> None:
    slow.stop_ids = ()
    with serving(slow, Limits(waiting=0, together=1, seconds=1.0)) as port:
        url = f"http://127.0.0.1:{port}/v1"
        with openai.OpenAI(base_url=url, api_key="any", max_retries=3) as made:
            first = made.chat.completions.create(**CHAT, stream=True)
            next(iter(first))
            # The line is full for a second: the client waits as long as Retry-After says, and is served then.
            later = made.chat.completions.create(**CHAT, stream=True)
            assert next(iter(later)).choices
