"""The server from outside, over HTTP alone: what llama.cpp asks of its own server (tools/server/tests/unit), asked of
this one in its own API; then whatever else a socket can send."""

from __future__ import annotations

import base64
import json
import math
import random
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from served import serving

from tutelage.inference.language_model import LanguageModel
from tutelage.serving.protocol import Limits

PROMPT = "The river bends twice before it"
TALK = [{"role": "system", "content": "A guide."}, {"role": "user", "content": "Which path is dry"}]


@pytest.fixture(scope="module")
def port(lm: LanguageModel) -> Iterator[int]:
    with serving(lm, Limits(together=2, waiting=16)) as made:
        yield made


@pytest.fixture(scope="module")
def http(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/v1", timeout=30) as made:
        yield made


def post(http: httpx.Client, path: str, status: int = 200, **fields: Any) -> Any:
    answer = http.post(path, json={"model": "tutelage", **fields})
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else answer.json()["error"]


def events(http: httpx.Client, path: str, **fields: Any) -> list[Any]:
    fields = {"model": "tutelage", "stream": True, **fields}
    with http.stream("POST", path, json=fields) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


# -- tokenize (test_tokenize.py)


def test_tokenize_and_detokenize(http: httpx.Client) -> None:
    tokens = post(http, "tokenize", prompt=PROMPT, add_special_tokens=False)["tokens"]
    assert len(tokens) > 5 and post(http, "detokenize", tokens=tokens)["prompt"] == PROMPT
    assert len(post(http, "tokenize", prompt=PROMPT)["tokens"]) == len(tokens) + 1
    pieces = post(http, "tokenize", prompt="Ärger 川 and 🦉", return_token_strs=True)
    assert len(pieces["token_strs"]) == pieces["count"] and all(pieces["token_strs"])


# -- completion (test_completion.py)


@pytest.mark.parametrize("count", [8, 40])
def test_completion_whole_and_streamed(http: httpx.Client, count: int) -> None:
    fields = {"prompt": PROMPT, "max_tokens": count, "temperature": 0, "ignore_eos": True}
    whole = post(http, "completions", **fields)
    assert whole["usage"]["completion_tokens"] == count and whole["choices"][0]["finish_reason"] == "length"
    streamed = events(http, "completions", **fields)
    assert "".join(one["choices"][0]["text"] for one in streamed) == whole["choices"][0]["text"]
    assert [one["choices"][0]["finish_reason"] for one in streamed][-1] == "length"
    assert len({one["id"] for one in streamed}) == 1


@pytest.mark.parametrize("temperature", [0, 1])
def test_the_same_seed_gives_the_same(http: httpx.Client, temperature: float) -> None:
    fields = {"prompt": PROMPT, "max_tokens": 20, "temperature": temperature, "seed": 42}
    texts = [post(http, "completions", **fields)["choices"][0]["text"] for _ in range(4)]
    assert len(set(texts)) == 1
    salted = post(http, "completions", **fields, cache_salt="other")  # nothing that was read before is used
    assert salted["choices"][0]["text"] == texts[0] and salted["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_another_seed_gives_another(http: httpx.Client) -> None:
    fields = {"prompt": PROMPT, "max_tokens": 20, "temperature": 1}
    assert len({post(http, "completions", **fields, seed=seed)["choices"][0]["text"] for seed in range(4)}) == 4


@pytest.mark.parametrize("requests", [1, 3, 6])
def test_more_requests_than_slots(http: httpx.Client, requests: int) -> None:
    prompts = ["Once more.", "The ferry leaves", "Why?", "Nine boats and a bridge.", "In short:", "No."]
    asked = [{"prompt": prompt, "max_tokens": 25, "temperature": 1, "seed": 42} for prompt in prompts[:requests]]
    alone = [post(http, "completions", **fields)["choices"] for fields in asked]
    with ThreadPoolExecutor(requests) as pool:
        assert list(pool.map(lambda fields: post(http, "completions", **fields)["choices"], asked)) == alone


def test_probabilities_of_tokens(http: httpx.Client) -> None:
    fields = {"messages": TALK, "max_tokens": 5, "temperature": 0, "ignore_eos": True}
    fields |= {"logprobs": True, "top_logprobs": 10}
    choice = post(http, "chat/completions", **fields)["choices"][0]
    entries = choice["logprobs"]["content"]
    assert len(entries) == 5 and all(len(one["top_logprobs"]) == 10 for one in entries)
    spelled = bytes(byte for one in entries for byte in one["bytes"])
    assert spelled.decode(errors="replace") == choice["message"]["content"]
    for one in entries:
        tops = [other["logprob"] for other in one["top_logprobs"]]
        assert one["logprob"] in tops and tops == sorted(tops, reverse=True) and tops[0] <= 0
        assert sum(map(math.exp, tops)) <= 1.000001
    steps = [one for event in events(http, "chat/completions", **fields) for one in event["choices"]]
    assert [one for step in steps for one in (step["logprobs"] or {"content": []})["content"]] == entries


def test_a_bias_keeps_tokens_out_and_a_stop_string_ends(http: httpx.Client) -> None:
    fields = {"prompt": PROMPT, "max_tokens": 20, "temperature": 0, "ignore_eos": True}
    text = post(http, "completions", **fields)["choices"][0]["text"]
    out = post(http, "tokenize", prompt=text, add_special_tokens=False)["tokens"]
    banned = post(http, "completions", **fields, logit_bias={str(one): -100 for one in set(out)})["choices"][0]["text"]
    assert not set(banned) & set(text.replace("\ufffd", ""))
    stop = next(one for one in text if one != "\ufffd")
    ended = post(http, "completions", **fields, stop=[stop, "never there"])["choices"][0]
    assert ended["finish_reason"] == "stop" and ended["text"] == text[: text.index(stop)]


# -- chat (test_chat_completion.py)


def test_a_stream_of_a_chat(http: httpx.Client) -> None:
    streamed = events(http, "chat/completions", messages=TALK, max_tokens=8, stream_options={"include_usage": True})
    assert streamed[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all("role" not in one["choices"][0]["delta"] for one in streamed[1:-1])
    assert streamed[-1]["choices"] == [] and streamed[-1]["usage"]["completion_tokens"] <= 8
    assert len({one["id"] for one in streamed}) == 1 and {one["model"] for one in streamed} == {"tutelage"}


@pytest.mark.parametrize(
    ("schema", "good"),
    [({"const": "42"}, True), ({"const": "dry"}, True), ({"items": [{"type": "integer"}]}, True), (123, False),
     ({"type": 123}, False), ({"type": "nothing"}, False)],
)  # fmt: skip
def test_a_schema_is_kept_to_or_refused(http: httpx.Client, schema: Any, good: bool) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    fields = {"messages": TALK, "max_tokens": 40, "response_format": form, "seed": 1}
    if not good:
        assert post(http, "chat/completions", 400, **fields)["type"] == "invalid_request_error"
        return
    choice = post(http, "chat/completions", **fields)["choices"][0]
    if "const" in schema:
        assert json.loads(choice["message"]["content"]) == schema["const"]


def test_a_grammar_is_kept_to(http: httpx.Client) -> None:
    made = post(http, "chat/completions", messages=TALK, grammar='start: "a"~5', max_tokens=9)["choices"][0]
    assert made["message"]["content"] == "aaaaa" and made["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "messages",
    [None, "string", [], [123], [{}], [{"role": 123}], [{"role": "system", "content": 123}], [{"content": "hello"}],
     [{"role": "system", "content": "test"}, {}], [{"role": "user", "content": [{"type": "image_url"}]}],
     [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file://../x.jpeg"}}]}]],
)  # fmt: skip
def test_messages_that_are_none_are_refused(http: httpx.Client, messages: Any) -> None:
    assert "messages" in post(http, "chat/completions", 400, messages=messages)["message"]


@pytest.mark.parametrize("prompt", [True, False])
def test_a_template_with_and_without_the_beginning_of_an_answer(http: httpx.Client, prompt: bool) -> None:
    text = post(http, "apply-template", messages=TALK, add_generation_prompt=prompt)["prompt"]
    assert text.endswith("assistant\n") == prompt and "Which path is dry" in text
    parts = [{"type": "text", "text": "Which path "}, {"type": "text", "text": "is dry"}]
    same = [TALK[0], {"role": "user", "content": parts}]
    assert post(http, "apply-template", messages=same, add_generation_prompt=prompt)["prompt"] == text


# -- the context (test_ctx_shift.py): never shifted, never cut


def test_a_prompt_past_the_context_is_refused_whole_and_streamed(http: httpx.Client, lm: LanguageModel) -> None:
    for more in ({}, {"stream": True}):
        error = post(http, "completions", 400, prompt=PROMPT * 32, **more)
        assert error["code"] == "context_length_exceeded" and str(lm.context) in error["message"]


def test_an_answer_ends_where_the_context_does(http: httpx.Client, lm: LanguageModel) -> None:
    made = post(http, "completions", prompt="Two steps", ignore_eos=True)
    assert made["usage"]["total_tokens"] == lm.context and made["choices"][0]["finish_reason"] == "length"


# -- embeddings (test_embedding.py)


def test_embeddings(http: httpx.Client) -> None:
    texts = [PROMPT, "A stone in the shoe", PROMPT]
    made = post(http, "embeddings", input=texts)
    vectors = [one["embedding"] for one in made["data"]]
    assert vectors[0] == vectors[2] != vectors[1]
    assert all(abs(sum(x * x for x in one) - 1) < 1e-3 for one in vectors)
    assert (
        made["usage"]["prompt_tokens"] == made["usage"]["total_tokens"] == sum(map(len, texts)) + 3
    )  # what begins each
    packed = post(http, "embeddings", input=PROMPT, encoding_format="base64")["data"][0]["embedding"]
    raw = base64.b64decode(packed)
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(vectors[0], abs=1e-6)


@pytest.mark.parametrize("given", [[], "", {"content": "string"}, [12, "string"], ["x", {}], PROMPT * 64])
def test_what_cannot_be_embedded_is_refused(http: httpx.Client, given: Any) -> None:
    assert post(http, "embeddings", 400, input=given)["message"]


# -- who is let in (test_security.py)


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer secre", "Bearer secrets", "Basic !!", "x"])
def test_a_wrong_key_opens_nothing_but_health(lm: LanguageModel, given: str | None) -> None:
    with serving(lm, Limits(), api_key="secret") as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        headers = {} if given is None else {"Authorization": given}
        assert client.get("/health", headers=headers).status_code == 200
        for path in ("/", "/v1/models", "/metrics", "/ready", "/openapi.json"):
            refused = client.get(path, headers=headers)
            assert refused.status_code == 401 and refused.json()["error"]["type"] == "authentication_error"
        refused = client.post("/v1/completions", headers=headers, json={"model": "tutelage", "prompt": "x"})
        assert refused.status_code == 401 and "choices" not in refused.text
        assert client.get("/v1/models", headers={"Authorization": "Bearer secret"}).status_code == 200


def test_no_page_from_elsewhere_is_told_that_it_may(http: httpx.Client) -> None:
    asked = {"Origin": "http://page.example", "Access-Control-Request-Method": "POST"}
    for answer in (http.options("completions", headers=asked), http.get("models", headers=asked)):
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


# -- whatever a socket can send


def say(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        parts = []
        while part := client.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def harmless(answer: bytes) -> None:
    """No failure, nothing of the inside."""
    assert not answer or answer.startswith(b"HTTP/1.1 ")
    assert not any(f" {status} ".encode() in answer[:16] for status in (500, 501, 502)), answer
    for inside in (b"Traceback", b'File "', b".py", b"site-packages", b"/usr/", b"/home/", b"/tmp/"):
        assert inside not in answer or answer.startswith(b"HTTP/1.1 200"), answer


def test_fuzzed_heads_do_no_harm(port: int) -> None:
    chance = random.Random(3)
    methods = [b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"TRACE", b"CONNECT", b"G\x00T", b"\xff", b"get"]
    paths = [b"/", b"/v1/models", b"/v1/models/../../etc/passwd", b"/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd", b"//",
             b"/v1/models/%00", b"/v1/models/%ff%fe", b"/health/../metrics", b"*", b"http://127.0.0.1/health",
             b"/v1/models/" + b"a" * 5000, b"/?q=" + b"%" * 99, b"/v1/decisions", b"/%", b"/\xc3\xa9"]  # fmt: skip
    heads = [b"Host: 127.0.0.1", b"Host: evil.example", b"Host:", b"Host: [::1", b"Content-Length: -1",
             b"Content-Length: 99999999999999999999", b"Content-Length: 5", b"Content-Length: x",
             b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked, identity", b"Content-Type: application/json",
             b"Content-Type: \xff", b"Authorization: Basic " + b"A" * 3000, b"X: " + b"y" * 9000, b": none", b"word",
             b"Expect: 100-continue", b"Upgrade: websocket\r\nConnection: Upgrade", b"Connection: close",
             b"Content-Encoding: gzip", b"Range: bytes=0-", b"Cookie: " + b"a=b;" * 500, b"X\x00Y: z"]  # fmt: skip
    bodies = [b"", b"hello", b"{}", b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n", b"\x00" * 50]
    for _ in range(250):
        lines = [
            b" ".join([chance.choice(methods), chance.choice(paths), chance.choice([b"HTTP/1.1", b"HTTP/9", b""])])
        ]
        lines += chance.sample(heads, chance.randrange(5))
        harmless(say(port, b"\r\n".join(lines) + b"\r\n\r\n" + chance.choice(bodies)))
    assert b"200" in say(port, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")


def mutated(chance: random.Random, value: Any) -> Any:
    """A JSON value, somewhere of another kind."""
    odd: list[Any] = [None, True, -1, 0, 1e308, 2**70, "", "x" * 300, "\ud800", [], {}, [[]], {"a": {}}, "\x00", -0.5]
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        return {**value, (key if chance.random() < 0.9 else "odd"): mutated(chance, value[key])}
    if isinstance(value, list) and value and chance.random() < 0.7:
        at = chance.randrange(len(value))
        return [*value[:at], mutated(chance, value[at]), *value[at + 1 :]]
    return chance.choice(odd)


def test_fuzzed_bodies_do_no_harm(port: int, http: httpx.Client) -> None:
    chance = random.Random(4)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    bodies: dict[str, Any] = {
        "chat/completions": {
            "messages": [*TALK, {"role": "assistant", "content": "x", "tool_calls": [call]},
                         {"role": "tool", "content": "y", "tool_call_id": "a"}],
            "max_tokens": 2, "stop": ["a"], "n": 1, "tools": [tool], "tool_choice": "none", "logprobs": True,
            "response_format": {"type": "text"}, "stream": False, "logit_bias": {"5": 1}, "top_logprobs": 1,
        },
        "completions": {"prompt": "x", "max_tokens": 2, "temperature": 0.5, "top_p": 0.5, "stop_ids": [4], "seed": 1},
        "responses": {"input": [{"role": "user", "content": "x"}], "max_output_tokens": 2},
        "tokenize": {"messages": TALK}, "detokenize": {"tokens": [1, 2]}, "apply-template": {"messages": TALK},
        "embeddings": {"input": ["a", "b"]}, "translate": {"input": ["a"], "beams": 2, "max_tokens": 2},
    }  # fmt: skip
    for _ in range(40):
        for path, body in bodies.items():
            given = json.dumps(mutated(chance, {"model": "tutelage", **body})).encode()
            if chance.random() < 0.2:
                given = given[: chance.randrange(len(given))]
            head = f"POST /v1/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            head += f"Content-Length: {len(given)}\r\nConnection: close\r\n\r\n"
            harmless(say(port, head.encode() + given))
    assert post(http, "completions", prompt="x", max_tokens=2)["choices"]
