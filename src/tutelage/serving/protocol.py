"""The shapes of the OpenAI-style API: requests, answers, streamed events, errors. Plain data, no web framework.

A request may hold the fields below and those that ask for nothing (`serving.neutral`), and no others: a field that
would be ignored is refused by name.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_core import from_json

from tutelage.inference.constraint import Constraint
from tutelage.inference.sampling import Sampling
from tutelage.serving import neutral
from tutelage.serving.faults import told
from tutelage.serving.messages import ChatMessage
from tutelage.serving.strict import Strict
from tutelage.serving.tool_protocol import MOST, Choice, NamedChoice, Tool
from tutelage.store.errors import nearest

Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
Unit = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


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
    max_tokens: int = 4096
    choices: int = 8
    stop_strings: int = 4
    stop_chars: int = 128
    waiting: int = 16
    together: int = 8
    seconds: float = 300.0


class ApiError(Exception):
    """An answer that is an error, in the shape that OpenAI clients know."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 503: "overloaded_error"}
        kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.status = status
        # Who is turned away for want of room is told when to come again.
        self.headers = {"Retry-After": "1"} if status in (429, 503) else {}
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


class StreamOptions(Strict):
    asks_nothing: ClassVar[neutral.Table] = neutral.STREAM_OPTIONS

    include_usage: bool = False


class JsonSchema(Strict):
    asks_nothing: ClassVar[neutral.Table] = {"description": (str,), "strict": (True, False)}

    name: str
    schema_: Annotated[dict[str, Any] | bool, Field(alias="schema")]


class ResponseFormat(Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _schema_where_wanted(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("type json_schema and the field json_schema go together")
        return self

    def constraint(self) -> Constraint | None:
        if self.type == "text":
            return None
        return Constraint.json_schema({"type": "object"} if self.json_schema is None else self.json_schema.schema_)


class Request(Strict):
    """What chat and plain completions have in common. Fields that OpenAI has not are those of `Sampling`."""

    asks_nothing: ClassVar[neutral.Table] = neutral.REQUEST

    model: str
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Unit | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] | None = None
    stop: str | list[str] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=1024)] | None = None
    response_format: ResponseFormat | None = None
    regex: Annotated[str, Field(min_length=1)] | None = None
    grammar: Annotated[str, Field(min_length=1)] | None = None
    typical_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_n_sigma: Annotated[float, Field(ge=0, le=100)] | None = None
    no_repeat_ngram: Annotated[int, Field(ge=0, le=64)] | None = None
    dry_multiplier: Annotated[float, Field(ge=0, le=100)] | None = None
    xtc_probability: Unit | None = None
    xtc_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    mirostat_tau: Annotated[float, Field(ge=0, le=100)] | None = None
    mirostat_eta: Annotated[float, Field(gt=0, le=1)] | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    ignore_eos: bool | None = None
    stop_ids: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=16)] | None = None
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
    def wants_usage(self) -> bool:
        """Whether a stream is to end with a usage event."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def stops(self) -> tuple[str, ...]:
        return () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def sampling(self, most_tokens: int) -> Sampling:
        """Missing values are OpenAI's: temperature 1, as many tokens as there may be, a seed by chance."""
        return Sampling(
            max_tokens=most_tokens,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_k=self.top_k or 0,
            top_p=1.0 if self.top_p is None else self.top_p,
            min_p=self.min_p or 0.0,
            repetition_penalty=self.repetition_penalty or 1.0,
            stop=self.stops,
            seed=secrets.randbits(62) if self.seed is None else self.seed,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            logit_bias=_biases(self.logit_bias or {}),
            constraint=self._constraint(),
            **{name: value for name in _OWN if (value := getattr(self, name)) is not None},
        )

    def _constraint(self) -> Constraint | None:
        given = [name for name in ("response_format", "regex", "grammar") if getattr(self, name)]
        wanted = self.response_format.constraint() if self.response_format else None
        if self.response_format and wanted is None:
            given.remove("response_format")
        if len(given) > 1:
            raise ApiError(400, f"give either {given[0]} or {given[1]}", given[1])
        if self.regex:
            return Constraint.regex(self.regex)
        return Constraint.grammar(self.grammar) if self.grammar else wanted


class ChatRequest(Request):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Field(max_length=MOST)] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None

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

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs is only allowed with logprobs: true")
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("give either max_tokens or max_completion_tokens")
        return self


class CompletionRequest(Request):
    """POST /v1/completions: the text is continued as it is. logprobs: with so many alternatives for each token."""

    prompt: str
    logprobs: Annotated[int, Field(ge=0, le=5)] | Literal[False] | None = None


_OWN = (
    "typical_p", "top_n_sigma", "no_repeat_ngram", "dry_multiplier", "xtc_probability", "xtc_threshold",
    "mirostat_tau", "mirostat_eta", "min_tokens", "ignore_eos", "stop_ids",
)  # fmt: skip


def _biases(given: Mapping[str, float]) -> dict[int, float]:
    for name in given:
        if not name.isdecimal() or len(name) > 9:
            raise ApiError(400, f"logit_bias: {name[:40]!r} is no token id", "logit_bias")
    return {int(name): bias for name, bias in given.items()}


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
        at_most("messages", len(request.messages), limits.messages, "messages")
        at_most("max_completion_tokens", request.max_completion_tokens or 0, limits.max_tokens, "tokens")
    at_most("max_tokens", request.max_tokens or 0, limits.max_tokens, "tokens")
    at_most("n", request.choices, limits.choices, "choices")
    at_most("stop", len(request.stops), limits.stop_strings, "stop strings")
    if any(not text for text in request.stops):
        raise ApiError(400, "stop: a stop string must not be empty", "stop")
    at_most("stop", max(map(len, request.stops), default=0), limits.stop_chars, "characters in a stop string")


def read(kind: type[S], body: bytes) -> S:
    """A body as what it should be. Raises ApiError 400 naming the first field at fault."""
    try:
        given = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        path, fault, message = told(error, given)
    name = ".".join(map(str, path)) or None
    if fault == "extra_forbidden":
        hint = f"; {nearest(str(name), kind.model_fields)}" if len(path) == 1 else ""
        raise ApiError(400, f"field {name!r} is not supported by this server{hint}", name, "unsupported_field")
    raise ApiError(400, f"{name}: {message}" if name else message, name)


def at_most(name: str, value: int, limit: int, what: str) -> None:
    if value > limit:
        raise ApiError(400, f"{name}: {value} {what} asked for, this server allows {limit}", name)
