"""From pieces of text to whole answers and to streams of events."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from tutelage.inference.calls import CallReader, CallStep
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.pieces import Piece
from tutelage.inference.sequences import StopReason
from tutelage.serving import metrics, shapes
from tutelage.serving.entries import Prompted, prompt_entries, token_entry
from tutelage.serving.faults import ApiError
from tutelage.tokenizer.call_form import CallForm


class Callables(NamedTuple):
    """What an answer may call: the names, and how the model writes a call."""

    names: Sequence[str]
    form: CallForm


async def whole_answer(
    rows: Sequence[Row],
    items: AsyncGenerator[Any, None],
    head: dict[str, Any],
    chat: bool,
    prompts: int = 1,
    choices: int | None = None,
) -> dict[str, Any]:
    """The body of an answer that is not streamed. items: the number of prompt tokens, then the pieces of the rows.

    prompts: which the rows answer, as many each. choices: so many of each prompt are given, those of the highest mean
    log-probability of a token; all by default.
    """
    async with aclosing(items):
        prompt_tokens = await anext(items)
        metrics.count_tokens(prompt_tokens, 0)
        async for piece in items:
            await _know_prompt(rows[piece.row], piece)
            rows[piece.row].add(piece)
    given = [row for mine in _of_prompts(rows, prompts) for row in _best(mine, choices or len(mine))]
    made = [
        shapes.choice(chat, index, row.said, row.finish_reason, row.entries, row.calls)
        for index, row in enumerate(given)
    ]
    return {**head, "choices": made, "usage": _usage(prompt_tokens, rows, prompts)}


async def answer_events(
    rows: Sequence[Row],
    items: AsyncGenerator[Any, None],
    first: Piece | None,
    prompt_tokens: int,
    head: dict[str, Any],
    wants_usage: bool,
    chat: bool,
    prompts: int = 1,
) -> AsyncIterator[bytes]:
    """Server-sent events of an answer; an error in the middle is sent as one, and then no [DONE]. first: None where
    nothing is made. Else as of `whole_answer`."""
    if wants_usage:
        head = {**head, "usage": None}
    metrics.count_tokens(prompt_tokens, 0)
    try:
        async with aclosing(items):
            for index, row in enumerate(rows):
                if chat:
                    yield shapes.event({**head, "choices": [shapes.delta(chat, index, "", first=True)]})
                elif not row.unscored and (row.said or first is None):
                    # The prompt; where nothing follows, the end as well.
                    reason = row.finish_reason if first is None else None
                    made = shapes.delta(chat, index, row.said, reason, row.entries)
                    yield shapes.event({**head, "choices": [made]})
            async for piece in _chain(first, items):
                row = rows[piece.row]
                if await _know_prompt(row, piece):
                    made = shapes.delta(chat, piece.row, row.said, None, row.entries)
                    yield shapes.event({**head, "choices": [made]})
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
        if wants_usage:
            yield shapes.event({**head, "choices": [], "usage": _usage(prompt_tokens, rows, prompts)})
        yield shapes.event("[DONE]")
    except ApiError as error:
        yield shapes.event(error.body)


async def _know_prompt(row: Row, piece: Piece) -> bool:
    """Whether the log-probabilities of the prompt came with this piece, and now stand before it in the row."""
    if not row.unscored:
        return False
    assert row.echo is not None
    if row.echo.entries is None:  # of a long prompt it takes a while: others are answered meanwhile
        row.echo.entries = await asyncio.to_thread(prompt_entries, row.lm, row.echo, piece.prompt)
    row.entries, row.unscored = [*row.echo.entries], False
    return True


def _usage(prompt_tokens: int, rows: Sequence[Row], prompts: int) -> dict[str, Any]:
    kept = sum(max(row.kept for row in mine) for mine in _of_prompts(rows, prompts))
    return shapes.usage(prompt_tokens, sum(row.tokens for row in rows), kept)


def _of_prompts(rows: Sequence[Row], prompts: int) -> list[Sequence[Row]]:
    each = len(rows) // prompts
    return [rows[at : at + each] for at in range(0, len(rows), each)]


def _best(rows: Sequence[Row], count: int) -> Sequence[Row]:
    return rows if count >= len(rows) else sorted(rows, key=lambda row: -row.mean_logprob)[:count]


async def _chain(first: Piece | None, rest: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    if first is not None:
        yield first
    async for piece in rest:
        yield piece


class Row:
    """What has been made of one answer: its text, its tokens, and the log-probabilities if these are wanted.

    said: the text without the calls of tools in it, `calls`; steps: what the last piece added to both. unscored: the
    log-probabilities of the prompt are wanted and come with the first piece.
    """

    def __init__(
        self, lm: LanguageModel, logprobs: bool, tools: Callables | None = None, echo: Prompted | None = None
    ) -> None:
        """echo: the prompt, which is to stand before the answer. Then every token has its log-probability, also one
        that ends the answer and is no text: who scores a prompt counts them (lm-evaluation-harness leaves out the last
        of prompt and one token)."""
        self.lm, self._ids, self._logprobs, self._given = lm, list[int](), list[float](), 0
        self._tops: list[tuple[tuple[int, float], ...]] = []
        self.text, self.tokens, self.kept = "", 0, 0
        self.reason: StopReason | None = None
        self._total, self.echo, self._before = 0.0, echo, "" if echo is None else echo.text
        self.entries: list[dict[str, Any]] | None = list((echo and echo.entries) or ()) if logprobs else None
        self.unscored = logprobs and echo is not None and echo.entries is None
        self._reader = None if tools is None else CallReader(tools.form, tools.names)
        self.said, self.calls, self.steps = self._before, list[dict[str, Any]](), list[str | dict[str, Any]]()

    @property
    def finish_reason(self) -> str:
        """Why it ended, in the words of the API."""
        return "tool_calls" if self.calls and self.reason == "stop" else self.reason or "length"

    @property
    def mean_logprob(self) -> float:
        """Of its tokens, that which ended it among them."""
        return self._total / max(1, self.tokens)

    def add(self, piece: Piece) -> list[dict[str, Any]] | None:
        """Take one piece; return the log-probabilities of the tokens whose text is now known to be given out."""
        self.text += piece.text
        self.tokens += 1
        self._total += piece.logprob
        self.kept = piece.kept
        metrics.count_tokens(0, 1)
        self.reason = piece.stop_reason
        self.steps = [self._step(one) for one in self._read(piece)]
        if self.entries is None:
            return None
        if self.echo or piece.id not in self.lm.stop_ids:
            self._ids.append(piece.id)
            self._logprobs.append(piece.logprob)
            self._tops.append(piece.top)
        if not piece.complete and piece.stop_reason is None:
            return []
        until = len(self._ids)
        # Tokens that hold nothing but the stop string are no part of the answer.
        while (
            piece.stop_reason == "stop" and not self.echo and until and self._decoded(until - 1).startswith(self.text)
        ):
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
        return self.lm.tokenizer.decode(self._ids[:count])

    def _entry(self, at: int) -> dict[str, Any]:
        start = len(self._before) + len(self._decoded(at))
        return token_entry(self.lm, self._ids[at], self._logprobs[at], self._tops[at], start)
