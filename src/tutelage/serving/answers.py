"""From pieces of text to whole answers and to streams of events."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from tutelage.inference.calls import CallReader, CallStep
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.pieces import Piece
from tutelage.inference.sequences import StopReason
from tutelage.serving import metrics, protocol, shapes
from tutelage.serving.faults import ApiError
from tutelage.tokenizer.call_form import CallForm


class Callables(NamedTuple):
    """What an answer may call: the names, and how the model writes a call."""

    names: Sequence[str]
    form: CallForm


async def whole_answer(
    lm: LanguageModel,
    items: AsyncGenerator[Any, None],
    head: dict[str, Any],
    choices: int,
    logprobs: bool,
    chat: bool,
    tools: Callables | None = None,
) -> dict[str, Any]:
    """The body of an answer that is not streamed. items: the number of prompt tokens, then the pieces."""
    rows = [Row(lm, logprobs, tools) for _ in range(choices)]
    async with aclosing(items):
        prompt_tokens = await anext(items)
        metrics.count_tokens(prompt_tokens, 0)
        async for piece in items:
            rows[piece.row].add(piece)
    made = [
        shapes.choice(chat, index, row.said, row.finish_reason, row.entries, row.calls)
        for index, row in enumerate(rows)
    ]
    return {**head, "choices": made, "usage": _usage(prompt_tokens, rows)}


async def answer_events(
    lm: LanguageModel,
    items: AsyncGenerator[Any, None],
    first: Piece,
    prompt_tokens: int,
    head: dict[str, Any],
    wanted: protocol.Request,
    logprobs: bool,
    chat: bool,
    tools: Callables | None = None,
) -> AsyncIterator[bytes]:
    """Server-sent events of an answer; an error in the middle is sent as one, and then no [DONE]."""
    rows = [Row(lm, logprobs, tools) for _ in range(wanted.choices)]
    if wanted.wants_usage:
        head = {**head, "usage": None}
    metrics.count_tokens(prompt_tokens, 0)
    try:
        async with aclosing(items):
            if chat:
                for index in range(wanted.choices):
                    yield shapes.event({**head, "choices": [shapes.delta(chat, index, "", first=True)]})
            async for piece in _chain(first, items):
                row = rows[piece.row]
                entries = row.add(piece)
                steps = row.steps or ([""] if entries else [])
                for step in steps:
                    text, call = (step, None) if isinstance(step, str) else (None, step)
                    made = shapes.delta(chat, piece.row, text, None, entries, call=call)
                    entries = entries and []
                    yield shapes.event({**head, "choices": [made]})
                if piece.stop_reason is not None:
                    made = shapes.delta(chat, piece.row, None, row.finish_reason)
                    yield shapes.event({**head, "choices": [made]})
        if wanted.wants_usage:
            yield shapes.event({**head, "choices": [], "usage": _usage(prompt_tokens, rows)})
        yield shapes.event("[DONE]")
    except ApiError as error:
        yield shapes.event(error.body)


def _usage(prompt_tokens: int, rows: Sequence[Row]) -> dict[str, Any]:
    return shapes.usage(prompt_tokens, sum(row.tokens for row in rows), max(row.kept for row in rows))


async def _chain(first: Piece, rest: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    yield first
    async for piece in rest:
        yield piece


class Row:
    """What has been made of one answer: its text, its tokens, and the log-probabilities if these are wanted.

    said: the text without the calls of tools in it, `calls`; steps: what the last piece added to both.
    """

    def __init__(self, lm: LanguageModel, logprobs: bool, tools: Callables | None = None) -> None:
        self._lm, self._ids, self._logprobs, self._given = lm, list[int](), list[float](), 0
        self._tops: list[tuple[tuple[int, float], ...]] = []
        self.text, self.tokens, self.kept = "", 0, 0
        self.reason: StopReason | None = None
        self.entries: list[dict[str, Any]] | None = [] if logprobs else None
        self._reader = None if tools is None else CallReader(tools.form, tools.names)
        self.said, self.calls, self.steps = "", list[dict[str, Any]](), list[str | dict[str, Any]]()

    @property
    def finish_reason(self) -> str:
        """Why it ended, in the words of the API."""
        return "tool_calls" if self.calls and self.reason == "stop" else self.reason or "length"

    def add(self, piece: Piece) -> list[dict[str, Any]] | None:
        """Take one piece; return the log-probabilities of the tokens whose text is now known to be given out."""
        self.text += piece.text
        self.tokens += 1
        self.kept = piece.kept
        metrics.count_tokens(0, 1)
        self.reason = piece.stop_reason
        self.steps = [self._step(one) for one in self._read(piece)]
        if self.entries is None:
            return None
        if piece.id not in self._lm.stop_ids:
            self._ids.append(piece.id)
            self._logprobs.append(piece.logprob)
            self._tops.append(piece.top)
        if not piece.complete and piece.stop_reason is None:
            return []
        until = len(self._ids)
        # Tokens that hold nothing but the stop string are no part of the answer.
        while piece.stop_reason == "stop" and until and self._decoded(until - 1).startswith(self.text):
            until -= 1
        new = [self._entry(at) for at in range(self._given, until)]
        self._given = max(self._given, until)
        self.entries += new
        return new

    def _read(self, piece: Piece) -> list[str | CallStep]:
        if self._reader is None:
            return [piece.text] if piece.text else []
        read = self._reader.feed(piece.text)
        return read if piece.stop_reason is None else [*read, *self._reader.close()]

    def _step(self, one: str | CallStep) -> str | dict[str, Any]:
        """A piece of text, or of a call in the shape of a stream."""
        if isinstance(one, str):
            self.said += one
            return one
        if one.name is None:
            self.calls[one.index]["function"]["arguments"] += one.arguments
            return {"index": one.index, "function": {"arguments": one.arguments}}
        # Nine letters and digits: some templates take no other ids.
        called = {"id": secrets.token_hex(5)[:9], "type": "function"}
        self.calls.append({**called, "function": {"name": one.name, "arguments": ""}})
        return {"index": one.index, **called, "function": {"name": one.name, "arguments": ""}}

    def _decoded(self, count: int) -> str:
        return self._lm.tokenizer.decode(self._ids[:count])

    def _entry(self, at: int) -> dict[str, Any]:
        alternatives = [self._token(*one) for one in self._tops[at]]
        start = len(self._decoded(at))
        return {**self._token(self._ids[at], self._logprobs[at]), "top_logprobs": alternatives, "text_offset": start}

    def _token(self, token_id: int, logprob: float) -> dict[str, Any]:
        shown = self._lm.tokenizer.decode([token_id], skip_special=False)
        # JSON knows no infinity: OpenAI's figure for what cannot come.
        spelled = list(self._lm.tokenizer.token_bytes(token_id))
        return {"token": shown, "logprob": max(logprob, -9999.0), "bytes": spelled}
