"""Of all faults of a request one is told, by its place in the request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tutelage.serving.faults import ApiError
from tutelage.serving.protocol import ChatRequest, read
from tutelage.serving.response_protocol import ResponsesRequest
from tutelage.serving.strict import Strict
from tutelage.serving.text_protocol import DetokenizeRequest, EmbeddingRequest

USER = {"role": "user", "content": "?"}
CHAT: dict[str, Any] = {"model": "x", "messages": [USER]}
LONG = ["a"] * 100_000  # as many faults


@pytest.mark.parametrize(
    ("kind", "body", "param", "code"),
    [
        (ChatRequest, {**CHAT, "temperature": "hot", "tempo": 1}, "tempo", "unsupported_field"),
        (ChatRequest, {**CHAT, "stop": [""]}, "stop.0", "invalid_request"),
        (ChatRequest, {**CHAT, "messages": [{"role": "user", "content": [{"type": "image"}]}]},
         "messages.0.content.0.type", "invalid_request"),
        (ChatRequest, {**CHAT, "tools": [{"type": "web_search", "filters": {}}]}, "tools.0.type", "invalid_request"),
        (ChatRequest, {"messages": [USER]}, "model", "invalid_request"),
        (ChatRequest, {**CHAT, "top_logprobs": 2}, "top_logprobs", "invalid_value"),
        (ChatRequest, {**CHAT, "stream_options": {}}, "stream_options", "invalid_value"),
        (ResponsesRequest, {"model": "x", "input": [{"type": "reasoning"}]}, "input.0", "invalid_request"),
        (ResponsesRequest, {"model": "x", "input": []}, "input", "invalid_request"),
        (EmbeddingRequest, {"model": "x", "input": ["a", 1]}, "input.1", "invalid_request"),
        (EmbeddingRequest, {"model": "x", "input": 1}, "input", "invalid_request"),
        (DetokenizeRequest, {"model": "x", "tokens": LONG}, "tokens.0", "invalid_request"),
        (DetokenizeRequest, [1], None, "invalid_request"),
        (DetokenizeRequest, "x", None, "invalid_request"),
    ],
    ids=lambda one: str(one)[:60],
)  # fmt: skip
def test_a_fault_is_told_by_its_place(kind: type[Strict], body: Any, param: str | None, code: str) -> None:
    with pytest.raises(ApiError) as told:
        read(kind, json.dumps(body).encode())
    error = told.value.body["error"]
    assert (error["param"], error["code"]) == (param, code), error
    assert "constrained" not in error["message"] and "function-" not in error["message"]
    assert "Request" not in error["message"]


@pytest.mark.parametrize("body", [
    b'{"model": "x", "input": "a", "input": "b"}', b'{"model": "x", "input": ["a", {"input": 1, "input": 1}]}',
])  # fmt: skip
def test_a_name_that_stands_twice_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError, match="'input' stands twice") as told:
        read(EmbeddingRequest, body)
    assert told.value.body["error"]["param"] == "input"


def test_whole_numbers_are_whole_however_they_are_written() -> None:
    assert read(DetokenizeRequest, b'{"model": "x", "tokens": [1.0, 2e1]}').tokens == [1, 20]
    with pytest.raises(ApiError):
        read(DetokenizeRequest, b'{"model": "x", "tokens": [1.5]}')
