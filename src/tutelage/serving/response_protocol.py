"""Requests of POST /v1/responses, the newer shape of OpenAI's API: the same as a request for a chat completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from tutelage.serving import neutral
from tutelage.serving.faults import ApiError
from tutelage.serving.messages import ChatMessage
from tutelage.serving.protocol import ChatRequest, Effort, Limits, at_most
from tutelage.serving.sampling_protocol import JsonSchema, ResponseFormat
from tutelage.serving.strict import Strict, either
from tutelage.serving.tool_protocol import MOST, CalledFunction, Choice, Function, NamedChoice, NamedFunction, Tool
from tutelage.serving.tool_protocol import ToolCall as ChatCall

Included = Literal["message.output_text.logprobs"]
_LOGPROBS: Included = "message.output_text.logprobs"
_OF_AN_ITEM: neutral.Table = {"id": (str,), "status": (str,)}


class InputPart(Strict):
    asks_nothing: ClassVar[neutral.Table] = {"annotations": ([],), "logprobs": (list,)}

    type: Literal["input_text", "output_text", "text"]
    text: str


Text = str | list[InputPart]


def _plain(text: Text) -> str:
    return text if isinstance(text, str) else "".join(part.text for part in text)


class InputMessage(Strict):
    """A turn, or an answer of ours that is sent back as it came."""

    asks_nothing: ClassVar[neutral.Table] = {**_OF_AN_ITEM, "type": ("message",), "phase": (str,)}

    role: Literal["system", "developer", "user", "assistant"]
    content: Text

    def as_chat(self) -> ChatMessage:
        return ChatMessage(role=self.role, content=_plain(self.content))


class InputCall(CalledFunction):
    """A call of a tool, as an answer of ours has it."""

    asks_nothing: ClassVar[neutral.Table] = _OF_AN_ITEM

    type: Literal["function_call"]
    call_id: str

    def as_chat(self) -> ChatCall:
        function = CalledFunction(name=self.name, arguments=self.arguments)
        return ChatCall(id=self.call_id, type="function", function=function)


class InputResult(Strict):
    """What a tool gave."""

    asks_nothing: ClassVar[neutral.Table] = _OF_AN_ITEM

    type: Literal["function_call_output"]
    call_id: str
    output: Text

    def as_chat(self) -> ChatMessage:
        return ChatMessage(role="tool", content=_plain(self.output), tool_call_id=self.call_id)


def _kind(given: Any) -> str:
    kind = given.get("type") if isinstance(given, dict) else getattr(given, "type", None)
    return "message" if kind is None else str(kind)


Item = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[InputCall, Tag("function_call")]
    | Annotated[InputResult, Tag("function_call_output")],
    Discriminator(
        _kind,
        custom_error_type="item_type",
        custom_error_message="an item is a message, a function_call or a function_call_output",
    ),
]


class FunctionTool(Function):
    type: Literal["function"]

    def as_chat(self) -> Tool:
        return Tool(type="function", function=Function(**self.model_dump(exclude={"type"})))


class FunctionChoice(Strict):
    type: Literal["function"]
    name: str


class JsonSchemaFormat(JsonSchema):
    type: Literal["json_schema"]


class PlainFormat(Strict):
    type: Literal["text", "json_object"]


class TextSettings(Strict):
    asks_nothing: ClassVar[neutral.Table] = {"verbosity": ("medium",)}

    format: Annotated[PlainFormat | JsonSchemaFormat, Field(discriminator="type")] | None = None


class Reasoning(Strict):
    asks_nothing: ClassVar[neutral.Table] = {"summary": (), "generate_summary": ()}

    effort: Effort | None = None


class ResponsesRequest(Strict):
    """POST /v1/responses: an answer to texts. Nothing is stored: `previous_response_id` is refused."""

    asks_nothing: ClassVar[neutral.Table] = {
        **{name: neutral.REQUEST[name] for name in ("user", "store", "safety_identifier", "prompt_cache_key",
                                                    "service_tier")},
        "truncation": ("disabled",),
        "background": (False,),
        "stream_options": ({}, {"include_obfuscation": False}),
    }  # fmt: skip

    model_config = ConfigDict(
        json_schema_extra=either(
            {"top_logprobs?": {"enum": [0, None]}}, {"include": {"type": "array", "contains": {"const": _LOGPROBS}}}
        )
    )

    model: str
    input: Annotated[str, Field(min_length=1)] | Annotated[list[Item], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    text: TextSettings | None = None
    stream: bool | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MOST)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    include: list[Included] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = Field(None, description="Comes back as it is.")

    @model_validator(mode="after")
    def _alternatives_of_tokens(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError(f"top_logprobs is only allowed with include: [{_LOGPROBS!r}]")
        return self

    @property
    def logprobs(self) -> bool:
        """Whether the tokens of the text are to come with their log-probabilities."""
        return _LOGPROBS in (self.include or ())

    @property
    def effort(self) -> Effort | None:
        return None if self.reasoning is None else self.reasoning.effort

    @property
    def items(self) -> Sequence[InputMessage | InputCall | InputResult]:
        """The input, instructions before it."""
        given = self.input
        items = [InputMessage(role="user", content=given)] if isinstance(given, str) else given
        return [InputMessage(role="system", content=self.instructions), *items] if self.instructions else items

    def check(self, limits: Limits) -> None:
        """What depends on the server, or on other items. Raises ApiError."""
        at_most("input", len(self.items), limits.messages, "items")
        calls = set[str]()
        for at, item in enumerate(self.input):
            if isinstance(item, InputCall):
                calls.add(item.call_id)
            elif isinstance(item, InputResult) and item.call_id not in calls:
                where = f"input.{at}.call_id"
                raise ApiError(400, f"{where}: no call before it has this id", where)

    def as_chat(self) -> ChatRequest:
        """The same as a request for a chat completion. Raises ApiError for more calls in a turn than it may hold."""
        return ChatRequest(
            model=self.model, messages=_turns(self.items), temperature=self.temperature, top_p=self.top_p,
            response_format=self._form(), stream=self.stream, tool_choice=self._choice(),
            tools=None if self.tools is None else [tool.as_chat() for tool in self.tools],
            parallel_tool_calls=self.parallel_tool_calls, logprobs=self.logprobs, top_logprobs=self.top_logprobs,
            reasoning_effort=self.effort,
        )  # fmt: skip

    def _form(self) -> ResponseFormat | None:
        wanted = self.text.format if self.text else None
        if isinstance(wanted, JsonSchemaFormat):
            schema = JsonSchema.model_validate({"name": wanted.name, "schema": wanted.schema_})
            return ResponseFormat(type="json_schema", json_schema=schema)
        return None if wanted is None else ResponseFormat(type=wanted.type)

    def _choice(self) -> Choice | None:
        wanted = self.tool_choice
        if isinstance(wanted, FunctionChoice):
            return NamedChoice(type="function", function=NamedFunction.model_construct(name=wanted.name))
        return wanted


def _turns(items: Sequence[InputMessage | InputCall | InputResult]) -> list[ChatMessage]:
    """Calls after each other, and a text of the assistant before them, were one answer: they are one turn again."""
    turns = list[ChatMessage]()
    for item in items:
        if not isinstance(item, InputCall):
            turns.append(item.as_chat())
            continue
        text, calls = None, list[ChatCall]()
        if turns and turns[-1].role == "assistant":
            last = turns.pop()
            text, calls = last.content, last.tool_calls or []
        if len(calls) == MOST:
            raise ApiError(400, f"input: more than {MOST} calls in one turn", "input")
        turns.append(ChatMessage(role="assistant", content=text, tool_calls=[*calls, item.as_chat()]))
    return turns
