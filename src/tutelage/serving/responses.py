"""The answers of POST /v1/responses, whole and streamed, made of the same pieces as those of chat completions."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from tutelage.inference.language_model import LanguageModel
from tutelage.inference.pieces import Piece
from tutelage.inference.sampling import Sampling
from tutelage.serving import metrics, shapes
from tutelage.serving.answers import Callables, Row
from tutelage.serving.faults import ApiError
from tutelage.serving.response_protocol import PlainFormat, ResponsesRequest


async def whole_response(
    lm: LanguageModel,
    items: AsyncGenerator[Any, None],
    wanted: ResponsesRequest,
    sampling: Sampling,
    tools: Callables | None,
) -> dict[str, Any]:
    """The response that is not streamed. items: the number of prompt tokens, then the pieces."""
    row, made = Row(lm, wanted.logprobs, tools), _Made(wanted, sampling)
    async with aclosing(items):
        prompt_tokens = await anext(items)
        metrics.count_tokens(prompt_tokens, 0)
        async for piece in items:
            for _ in made.adding(row, row.add(piece)):
                pass
    for _ in made.ending(row):
        pass
    return made.response(row, prompt_tokens)


async def response_events(
    lm: LanguageModel,
    items: AsyncGenerator[Any, None],
    first: Piece,
    prompt_tokens: int,
    wanted: ResponsesRequest,
    sampling: Sampling,
    tools: Callables | None,
) -> AsyncIterator[bytes]:
    """Server-sent events of a response; an error in the middle is the last of them."""
    row, made = Row(lm, wanted.logprobs, tools), _Made(wanted, sampling)
    metrics.count_tokens(prompt_tokens, 0)
    try:
        async with aclosing(items):
            for event in made.opening():
                yield event
            piece: Piece | None = first
            while piece is not None:
                for event in made.adding(row, row.add(piece)):
                    yield event
                piece = await anext(items, None)
        for event in made.ending(row):
            yield event
        response = made.response(row, prompt_tokens)
        yield made.event(f"response.{response['status']}", response=response)
    except ApiError as error:
        said = error.body["error"]
        yield made.event("error", code=said["code"], message=said["message"], param=said["param"])


class _Made:
    """The objects and events of one response: its items so far, of which the last may still grow."""

    def __init__(self, wanted: ResponsesRequest, sampling: Sampling) -> None:
        self.wanted, self.sampling, self.number, self.created = wanted, sampling, 0, int(time.time())
        self.id, self.items = _id("resp"), list[dict[str, Any]]()
        self._entries = list[dict[str, Any]]()  # tokens whose text is not given out yet

    def event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self.number, **fields}
        self.number += 1
        return f"event: {kind}\ndata: {json.dumps(data, allow_nan=False)}\n\n".encode("ascii")

    def opening(self) -> Iterator[bytes]:
        begun = self._object("in_progress")
        yield self.event("response.created", response=begun)
        yield self.event("response.in_progress", response=begun)

    def adding(self, row: Row, entries: Sequence[Mapping[str, Any]] | None) -> Iterator[bytes]:
        """The events of what the last piece of the row added: to the text, or to a call. entries: the log-probabilities
        of its tokens. They go with the first text that comes after them; a response has none of the tokens of calls."""
        self._entries += shapes.token_logprobs(entries or ())
        for step in row.steps:
            if isinstance(step, str):
                yield from self._text(step)
                continue
            called = step["function"]
            if "name" in called:
                call = {"type": "function_call", "call_id": step["id"], "name": called["name"], "arguments": ""}
                yield from self._begin({"id": _id("fc"), **call, "status": "in_progress"})
            if called["arguments"]:
                self.items[-1]["arguments"] += called["arguments"]
                yield self._at_last("response.function_call_arguments.delta", delta=called["arguments"])

    def ending(self, row: Row) -> Iterator[bytes]:
        """The events of the end. An answer of nothing is an empty text."""
        if not self.items or (self._entries and self.items[-1]["type"] == "message"):
            yield from self._text("")
        yield from self._end(_status(row))

    def response(self, row: Row, prompt_tokens: int) -> dict[str, Any]:
        status = _status(row)
        usage = {
            "input_tokens": prompt_tokens, "input_tokens_details": {"cached_tokens": row.kept},
            "output_tokens": row.tokens, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt_tokens + row.tokens,
        }  # fmt: skip
        details = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {**self._object(status), "incomplete_details": details, "output": self.items, "usage": usage}

    def _text(self, text: str) -> Iterator[bytes]:
        if not self.items or self.items[-1]["type"] != "message":
            if self.items:
                self._entries = _tokens_of(text, self._entries)
            message = {"type": "message", "role": "assistant", "content": []}
            yield from self._begin({"id": _id("msg"), **message, "status": "in_progress"})
            self.items[-1]["content"] = [_part("")]
            yield self._at_last("response.content_part.added", content_index=0, part=_part(""))
        if text or self._entries:
            logprobs, self._entries = self._entries, []
            part = self.items[-1]["content"][0]
            part["text"] += text
            part["logprobs"] += logprobs
            yield self._at_last("response.output_text.delta", content_index=0, delta=text, logprobs=logprobs)

    def _begin(self, item: dict[str, Any]) -> Iterator[bytes]:
        yield from self._end("completed")
        self.items.append(item)
        yield self.event("response.output_item.added", output_index=len(self.items) - 1, item=item)

    def _end(self, status: str) -> Iterator[bytes]:
        """The last item is whole, or as far as it came."""
        if not self.items:
            return
        item = self.items[-1]
        item["status"] = status
        if item["type"] == "message":
            part = item["content"][0]
            yield self._at_last("response.output_text.done", content_index=0, **_said(part))
            yield self._at_last("response.content_part.done", content_index=0, part=part)
        else:
            called = {"name": item["name"], "arguments": item["arguments"]}
            yield self._at_last("response.function_call_arguments.done", **called)
        yield self.event("response.output_item.done", output_index=len(self.items) - 1, item=item)

    def _at_last(self, kind: str, **fields: Any) -> bytes:
        return self.event(kind, item_id=self.items[-1]["id"], output_index=len(self.items) - 1, **fields)

    def _object(self, status: str) -> dict[str, Any]:
        wanted = self.wanted
        form = wanted.text.format if wanted.text and wanted.text.format else PlainFormat(type="text")
        choice = wanted.tool_choice or "auto"
        return {
            "id": self.id, "object": "response", "created_at": self.created, "status": status, "error": None,
            "incomplete_details": None, "instructions": wanted.instructions,
            "max_output_tokens": wanted.max_output_tokens, "model": wanted.model, "output": [],
            "parallel_tool_calls": wanted.parallel_tool_calls is not False, "previous_response_id": None,
            "reasoning": {"effort": wanted.effort, "summary": None},
            "store": False, "temperature": self.sampling.temperature, "top_p": self.sampling.top_p,
            "text": {"format": form.model_dump(by_alias=True)},
            "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
            "tools": [{**tool.model_dump(), "strict": bool(tool.strict)} for tool in wanted.tools or ()],
            "top_logprobs": wanted.top_logprobs or 0, "truncation": "disabled", "metadata": wanted.metadata or {},
            "usage": None,
        }  # fmt: skip


def _status(row: Row) -> str:
    return "incomplete" if row.reason == "length" else "completed"


def _id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(16)}"


def _tokens_of(text: str, entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last tokens, as far as they make up the text: those before them were a call's."""
    count, missing = 0, len(text.encode())
    while missing > 0 and count < len(entries):
        count += 1
        missing -= len(entries[-count]["bytes"])
    return [*entries[len(entries) - count :]]


def _said(part: dict[str, Any]) -> dict[str, Any]:
    return {name: part[name] for name in ("text", "logprobs")}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
