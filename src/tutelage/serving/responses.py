"""POST /v1/responses: the newer shape of OpenAI's API, over the same answers as chat completions."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tutelage.inference.language_model import LanguageModel
from tutelage.inference.pieces import Piece
from tutelage.inference.sampling import Sampling
from tutelage.serving import metrics, neutral
from tutelage.serving.answers import Row
from tutelage.serving.messages import ChatMessage, TextPart
from tutelage.serving.protocol import ApiError, ChatRequest, JsonSchema, ResponseFormat
from tutelage.serving.strict import Strict


class InputPart(Strict):
    asks_nothing: ClassVar[neutral.Table] = {"annotations": ([],), "logprobs": ([],)}

    type: Literal["input_text", "output_text", "text"]
    text: str


class InputMessage(Strict):
    """A turn, or an answer of ours that is sent back as it came."""

    asks_nothing: ClassVar[neutral.Table] = {"id": (str,), "status": (str,), "type": ("message",), "phase": (str,)}

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[InputPart]

    def as_chat(self) -> ChatMessage:
        parts = self.content
        content = parts if isinstance(parts, str) else [TextPart(type="text", text=part.text) for part in parts]
        return ChatMessage(role="system" if self.role == "developer" else self.role, content=content)


class JsonSchemaFormat(JsonSchema):
    type: Literal["json_schema"]


class PlainFormat(Strict):
    type: Literal["text", "json_object"]


class TextSettings(Strict):
    asks_nothing: ClassVar[neutral.Table] = {"verbosity": ("medium",)}

    format: Annotated[PlainFormat | JsonSchemaFormat, Field(discriminator="type")] | None = None


class ResponsesRequest(Strict):
    """POST /v1/responses: an answer to texts. Nothing is stored: `previous_response_id` is refused."""

    asks_nothing: ClassVar[neutral.Table] = {
        **{name: neutral.REQUEST[name] for name in ("tools", "tool_choice", "parallel_tool_calls", "user", "metadata",
                                                    "safety_identifier", "prompt_cache_key", "service_tier")},
        "store": (True, False),
        "truncation": ("disabled",),
        "include": ([],),
        "background": (False,),
        "top_logprobs": (0,),
        "stream_options": ({}, {"include_obfuscation": False}),
    }  # fmt: skip

    model: str
    input: Annotated[str, Field(min_length=1)] | Annotated[list[InputMessage], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    text: TextSettings | None = None
    stream: bool | None = None

    def as_chat(self) -> ChatRequest:
        """The same as a request for a chat completion."""
        turns = [InputMessage(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        if self.instructions:
            turns = [InputMessage(role="system", content=self.instructions), *turns]
        wanted = self.text.format if self.text else None
        form = None
        if isinstance(wanted, JsonSchemaFormat):
            schema = JsonSchema.model_validate({"name": wanted.name, "schema": wanted.schema_})
            form = ResponseFormat(type="json_schema", json_schema=schema)
        elif wanted is not None:
            form = ResponseFormat(type=wanted.type)
        return ChatRequest(
            model=self.model, messages=[turn.as_chat() for turn in turns], temperature=self.temperature,
            top_p=self.top_p, response_format=form, stream=self.stream,
        )  # fmt: skip


async def whole_response(
    lm: LanguageModel, items: AsyncGenerator[Any, None], wanted: ResponsesRequest, sampling: Sampling
) -> dict[str, Any]:
    """The response that is not streamed. items: the number of prompt tokens, then the pieces."""
    row, made = Row(lm, False), _Made(wanted, sampling)
    async with aclosing(items):
        prompt_tokens = await anext(items)
        metrics.count_tokens(prompt_tokens, 0)
        async for piece in items:
            row.add(piece)
    return made.response(row, prompt_tokens)


async def response_events(
    lm: LanguageModel,
    items: AsyncGenerator[Any, None],
    first: Piece,
    prompt_tokens: int,
    wanted: ResponsesRequest,
    sampling: Sampling,
) -> AsyncIterator[bytes]:
    """Server-sent events of a response; an error in the middle is the last of them."""
    row, made = Row(lm, False), _Made(wanted, sampling)
    metrics.count_tokens(prompt_tokens, 0)
    try:
        async with aclosing(items):
            for event in made.opening():
                yield event
            piece: Piece | None = first
            while piece is not None:
                row.add(piece)
                if piece.text:
                    yield made.event("response.output_text.delta", **made.place, delta=piece.text, logprobs=[])
                piece = await anext(items, None)
        for event in made.closing(row, prompt_tokens):
            yield event
    except ApiError as error:
        said = error.body["error"]
        yield made.event("error", code=said["code"], message=said["message"], param=said["param"])


class _Made:
    """The objects and events of one response."""

    def __init__(self, wanted: ResponsesRequest, sampling: Sampling) -> None:
        self.wanted, self.sampling, self.number, self.created = wanted, sampling, 0, int(time.time())
        self.id, self.item_id = "resp_" + secrets.token_hex(16), "msg_" + secrets.token_hex(16)
        self.place = {"item_id": self.item_id, "output_index": 0, "content_index": 0}

    def event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self.number, **fields}
        self.number += 1
        return f"event: {kind}\ndata: {json.dumps(data, allow_nan=False)}\n\n".encode("ascii")

    def opening(self) -> Iterator[bytes]:
        begun = self._object("in_progress")
        yield self.event("response.created", response=begun)
        yield self.event("response.in_progress", response=begun)
        yield self.event("response.output_item.added", output_index=0, item=self._item("in_progress", []))
        yield self.event("response.content_part.added", **self.place, part=_part(""))

    def closing(self, row: Row, prompt_tokens: int) -> Iterator[bytes]:
        response = self.response(row, prompt_tokens)
        yield self.event("response.output_text.done", **self.place, text=row.text, logprobs=[])
        yield self.event("response.content_part.done", **self.place, part=_part(row.text))
        yield self.event("response.output_item.done", output_index=0, item=response["output"][0])
        yield self.event(f"response.{response['status']}", response=response)

    def response(self, row: Row, prompt_tokens: int) -> dict[str, Any]:
        status = "incomplete" if row.reason == "length" else "completed"
        usage = {
            "input_tokens": prompt_tokens, "input_tokens_details": {"cached_tokens": row.kept},
            "output_tokens": row.tokens, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt_tokens + row.tokens,
        }  # fmt: skip
        return {
            **self._object(status),
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "output": [self._item(status, [_part(row.text)])],
            "usage": usage,
        }

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.item_id, "type": "message", "status": status, "role": "assistant", "content": content}

    def _object(self, status: str) -> dict[str, Any]:
        wanted = self.wanted
        form = wanted.text.format if wanted.text and wanted.text.format else PlainFormat(type="text")
        return {
            "id": self.id, "object": "response", "created_at": self.created, "status": status, "error": None,
            "incomplete_details": None, "instructions": wanted.instructions,
            "max_output_tokens": wanted.max_output_tokens, "model": wanted.model, "output": [],
            "parallel_tool_calls": True, "previous_response_id": None, "store": False,
            "temperature": self.sampling.temperature, "top_p": self.sampling.top_p,
            "text": {"format": form.model_dump(by_alias=True)}, "tool_choice": "auto", "tools": [],
            "truncation": "disabled", "metadata": {}, "usage": None,
        }  # fmt: skip


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
