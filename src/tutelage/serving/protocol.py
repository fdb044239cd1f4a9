"""The shapes of the OpenAI-style API: requests, answers, streamed events, errors. Plain data, no web framework.

A request may hold the fields below and those that ask for nothing (`serving.neutral`), and no others: a field that
would be ignored is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from tutelage.serving import neutral
from tutelage.serving.faults import ApiError, told
from tutelage.serving.messages import ChatMessage
from tutelage.serving.sampling_protocol import SamplingFields
from tutelage.serving.strict import NULL, Strict, either
from tutelage.serving.tool_protocol import MOST, Choice, NamedChoice, Tool
from tutelage.store.errors import nearest
from tutelage.store.jsonl import RepeatedKeys

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


@dataclass(frozen=True)
class Limits:
    """What one request, and all together, may ask of the server. Sizes in bytes or characters, times in seconds."""

    body_bytes: int = 1 << 20
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    read_seconds: float = 60.0
    connections: int = 64
    messages: int = 256
    texts: int = 256
    input_tokens: int = 1 << 16
    traced_chars: int = 20_000
    max_tokens: int = 4096
    choices: int = 8
    prompts: int = 64
    stop_strings: int = 16
    stop_chars: int = 128
    waiting: int = 16
    together: int = 8
    seconds: float = 300.0
    drain_seconds: float = 3.0


class StreamOptions(Strict):
    asks_nothing: ClassVar[neutral.Table] = neutral.STREAM_OPTIONS

    include_usage: bool = False


STREAMED = either({"stream_options?": NULL}, {"stream": {"const": True}})


class Request(SamplingFields):
    """What chat and plain completions have in common."""

    model_config = ConfigDict(json_schema_extra={"allOf": [STREAMED]})
    asks_nothing: ClassVar[neutral.Table] = neutral.REQUEST

    model: str
    n: Annotated[int, Field(ge=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=256)] | None = (
        None  # what was read is shared with no other
    )

    @model_validator(mode="after")
    def _options_of_a_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is only allowed with stream: true")
        return self

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def longest(self) -> tuple[str, int | None]:
        """The field that says how many tokens an answer may have, and what it says."""
        return "max_tokens", self.max_tokens

    def check_limits(self, limits: Limits) -> None:
        """Raise ApiError for more than the server allows."""
        at_most("n", self.choices, limits.choices, "choices")
        at_most("stop", len(self.stops), limits.stop_strings, "stop strings")
        at_most("stop", max(map(len, self.stops), default=0), limits.stop_chars, "characters in a stop string")

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with a usage event."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(Request):
    """POST /v1/chat/completions."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                STREAMED,
                either({"top_logprobs?": {"enum": [0, None]}}, {"logprobs": {"const": True}}),
                either({"max_tokens?": NULL}, {"max_completion_tokens?": NULL}),
            ]
        }
    )

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Field(max_length=MOST)] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None

    @property
    def longest(self) -> tuple[str, int | None]:
        name = "max_completion_tokens" if self.max_completion_tokens is not None else "max_tokens"
        return name, self.max_completion_tokens or self.max_tokens

    @property
    def callable(self) -> list[Tool]:
        """What the answer may call."""
        return [] if self.tool_choice == "none" else self.tools or []

    def check_tools(self) -> None:
        """Raise ApiError where tools, calls and results do not go together."""
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise ApiError(400, "tools: two have the same name", "tools")
        named = self.tool_choice.function.name if isinstance(self.tool_choice, NamedChoice) else None
        if (self.tool_choice == "required" and not names) or (named is not None and named not in names):
            raise ApiError(400, "tool_choice asks for a tool that is not among the tools", "tool_choice")
        formed = self.response_format is not None and self.response_format.type != "text"
        if self.callable and (formed or self.regex or self.grammar):
            raise ApiError(400, "tools that may be called and a form for the answer exclude each other", "tools")
        calls: set[str] = set()
        for at, message in enumerate(self.messages):
            calls |= {call.id for call in message.tool_calls or ()}
            if message.tool_call_id is not None and message.tool_call_id not in calls:
                where = f"messages.{at}.tool_call_id"
                raise ApiError(400, f"{where}: no call before it has this id", where)

    def check_limits(self, limits: Limits) -> None:
        at_most("messages", len(self.messages), limits.messages, "messages")
        super().check_limits(limits)

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs is only allowed with logprobs: true")
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("give either max_tokens or max_completion_tokens")
        return self


TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Ids = Annotated[list[TokenId], Field(min_length=1)]


S = TypeVar("S", bound=Strict)
R = TypeVar("R", bound=Request)


def served_model(name: str, served: Collection[str]) -> str:
    """The name, if a model of that name is served. Raises ApiError 404 otherwise."""
    if name not in served:
        shown = ", ".join(map(repr, served))
        what = "the model served here is" if len(served) == 1 else "the models served here are"
        raise ApiError(404, f"{what} {shown}", "model", "model_not_found")
    return name


def parse(kind: type[R], body: bytes, served: Collection[str], limits: Limits) -> R:
    """Validate a body. Raises ApiError 400 naming the first field at fault, 404 for a model that is not served."""
    request = read(kind, body)
    check(request, served, limits)
    return request


def check(request: Request, served: Collection[str], limits: Limits) -> None:
    """What depends on the server: raises ApiError as `parse`."""
    served_model(request.model, served)
    if isinstance(request, ChatRequest):
        request.check_tools()
    request.check_limits(limits)


def read(kind: type[S], body: bytes) -> S:
    """A body as what it should be. Raises ApiError 400 naming the first field at fault."""
    body = body.removeprefix(b"\xef\xbb\xbf")  # some clients on Windows begin a text so
    try:
        given = _whole(from_json(body, allow_inf_nan=False))
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_request") from None
    if not isinstance(given, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_request")
    json.loads(body, object_pairs_hook=(repeated := RepeatedKeys()).read)
    if name := next(iter(repeated.names), None):  # one of its values would be ignored
        raise ApiError(400, f"{name!r} stands twice in one object", name)
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        path, fault, message = told(error, given)
    name = ".".join(map(str, path)) or None
    if fault == "extra_forbidden":
        if name is not None and name in kind.asks_nothing:
            raise ApiError(400, neutral.taken(name, kind.asks_nothing), name, "unsupported_field")
        hint = f"; {nearest(str(name), kind.model_fields)}" if len(path) == 1 else ""
        raise ApiError(400, f"field {name!r} is not supported by this server{hint}", name, "unsupported_field")
    if name is None and (first := message.partition(" ")[0]) in kind.model_fields:  # a rule of several fields
        raise ApiError(400, message, first)
    code = None if fault == "value_error" else "invalid_request"  # our own rules are for what the schema cannot say
    raise ApiError(400, f"{name}: {message}" if name else message, name, code)


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 1.0 is an integer."""
    if isinstance(value, dict):
        return {name: _whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def at_most(name: str, value: int, limit: int, what: str) -> None:
    if value > limit:
        raise ApiError(400, f"{name}: {value} {what} asked for, this server allows {limit}", name)


def check_ids(name: str, ids: Sequence[int], vocab_size: int) -> None:
    if ids and max(ids) >= vocab_size:
        raise ApiError(400, f"{name}: {max(ids)} is no token, the last is {vocab_size - 1}", name)
