"""The routes that answer with text: chat and plain completions, and responses."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from tutelage.inference.constraint import Constraint
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.sampling import Sampling
from tutelage.serving import protocol, shapes
from tutelage.serving.answers import Callables, Row, answer_events, whole_answer
from tutelage.serving.body import read_body
from tutelage.serving.completion_protocol import CompletionRequest
from tutelage.serving.conversations import conversation_ids
from tutelage.serving.desk import Desk
from tutelage.serving.entries import Prompted
from tutelage.serving.faults import ApiError
from tutelage.serving.prompts import check_fits, check_longest, echoes, prompt_ids
from tutelage.serving.protocol import ChatRequest, Limits
from tutelage.serving.response_protocol import ResponsesRequest
from tutelage.serving.responses import response_events, whole_response
from tutelage.serving.tool_protocol import constraint_of
from tutelage.serving.worker import BusyError, ClientGoneError, DeadlineError, EndingError, Worker
from tutelage.store.errors import ConfigError, InputError
from tutelage.tokenizer.call_form import CallForm, call_form

logger = logging.getLogger(__name__)

Read = Callable[[LanguageModel], list[list[int]]]


def add_answer_routes(
    app: FastAPI,
    lms: Mapping[str, LanguageModel],
    served: Collection[str],
    limits: Limits,
    worker: Worker,
    desk: Desk,
) -> None:
    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        wanted = protocol.parse(ChatRequest, await read_body(request, limits), served, limits)
        items, _, tools = await conversation(request, wanted, wanted.longest, "messages")
        rows = [Row(lms[wanted.model], bool(wanted.logprobs), tools) for _ in range(wanted.choices)]
        return await answer(wanted, rows, items, chat=True)

    @app.post("/v1/completions")
    async def complete(request: Request) -> Response:
        wanted = protocol.parse(CompletionRequest, await read_body(request, limits), served, limits)
        sampling = replace(_sampling(wanted, wanted.max_tokens), top_logprobs=wanted.logprobs or 0)
        lm, count, each, begun = lms[wanted.model], len(wanted.prompts), wanted.made, time.monotonic()
        echoed = list[Prompted | None]([None] * count)
        ids: list[list[int]] | None = None
        if wanted.echo:
            told = await desk.do(partial(echoes, lm, wanted, limits), request.is_disconnected)
            echoed, ids = [*told], [[*one.ids] for one in told]
        if wanted.max_tokens == 0:
            items, each = _nothing(sum(map(len, ids or ()))), wanted.choices
        else:
            left = limits.seconds - (time.monotonic() - begun)
            scored = wanted.logprobs or 0 if wanted.echo and wanted.wants_logprobs else None

            def read(one: LanguageModel) -> list[list[int]]:
                return prompt_ids(one, wanted, limits) if ids is None else ids

            items = pieces(request, wanted, read, sampling, "prompt", each, left, scored=scored)
        rows = [Row(lm, wanted.wants_logprobs, echo=one) for one in echoed for _ in range(each)]
        return await answer(wanted, rows, items, chat=False, prompts=count)

    @app.post("/v1/responses")
    async def respond(request: Request) -> Response:
        wanted = protocol.read(ResponsesRequest, await read_body(request, limits))
        wanted.check(limits)
        asked = wanted.as_chat()
        protocol.check(asked, served, limits)
        longest = ("max_output_tokens", wanted.max_output_tokens)
        items, sampling, tools = await conversation(request, asked, longest, "input")
        lm = lms[wanted.model]
        if not wanted.stream:
            return JSONResponse(await whole_response(lm, items, wanted, sampling, tools))
        prompt_tokens, first = await _begun(items)
        return _streamed(response_events(lm, items, first, prompt_tokens, wanted, sampling, tools))

    async def conversation(
        request: Request, wanted: ChatRequest, longest: tuple[str, int | None], field: str
    ) -> tuple[AsyncGenerator[Any, None], Sampling, Callables | None]:
        """The pieces of an answer to messages, how they are drawn, and what they may call. longest: the field that says
        how many tokens it may have, and what it says."""
        messages = [message.message() for message in wanted.messages]
        sampling = _sampling(wanted, longest[1])
        tools = await callable_of(wanted)
        defined = [tool.plain() for tool in wanted.callable] or None
        if tools is not None:
            sampling = replace(sampling, constraint=tool_constraint(wanted, tools))
        shown = () if tools is None else tools.form.control

        def read(lm: LanguageModel) -> list[list[int]]:
            effort = "reasoning.effort" if field == "input" else "reasoning_effort"
            ids = conversation_ids(lm, messages, defined, wanted.reasoning_effort, effort)
            check_fits(ids, lm.context, field)
            check_longest(ids, lm.context, *longest, limits)
            return [ids]

        items = pieces(request, wanted, read, sampling, field, wanted.choices, limits.seconds, shown)
        return items, sampling, tools

    def _sampling(wanted: protocol.Request, most: int | None) -> Sampling:
        try:
            return wanted.sampling(most or limits.max_tokens)
        except ConfigError as error:
            raise _refused(error, wanted.form) from None

    forms: dict[str, CallForm] = {}

    async def callable_of(wanted: ChatRequest) -> Callables | None:
        """What the answer may call. Raises ApiError for a model whose template knows no tools."""
        if not wanted.callable:
            return None
        name = wanted.model
        if name not in forms:
            try:
                forms[name] = await asyncio.to_thread(call_form, lms[name].tokenizer)
            except InputError as error:
                raise ApiError(400, f"tools: {error}", "tools") from None
        return Callables([tool.function.name for tool in wanted.callable], forms[name])

    def tool_constraint(wanted: ChatRequest, tools: Callables) -> Constraint | None:
        tok = lms[wanted.model].tokenizer
        try:
            return constraint_of(wanted.callable, wanted.tool_choice, wanted.parallel_tool_calls, tools.form, tok)
        except ConfigError as error:
            raise ApiError(400, f"tools: {error}", "tools") from None

    def pieces(
        request: Request,
        wanted: protocol.Request,
        read: Read,
        sampling: Sampling,
        field: str,
        choices: int,
        seconds: float,
        shown: Collection[int] = (),
        scored: int | None = None,
    ) -> AsyncGenerator[Any, None]:
        """First the number of prompt tokens, then the pieces of all choices. `field`: where the prompts came from."""
        lm, gone, salt = lms[wanted.model], request.is_disconnected, wanted.cache_salt or ""
        run = worker.run(wanted.model, partial(read, lm), sampling, choices, seconds, gone, salt, shown, scored)
        form = "tools" if isinstance(wanted, ChatRequest) and wanted.callable else wanted.form
        return _translated(run, "text.format" if field == "input" and form == "response_format" else form)

    async def answer(
        wanted: protocol.Request, rows: Sequence[Row], items: AsyncGenerator[Any, None], chat: bool, prompts: int = 1
    ) -> Response:
        head = shapes.answer_head(chat, bool(wanted.stream), wanted.model)
        if not wanted.stream:
            return JSONResponse(await whole_answer(rows, items, head, chat, prompts, wanted.choices))
        prompt_tokens, first = await _begun(items)
        return _streamed(answer_events(rows, items, first, prompt_tokens, head, wanted.wants_usage, chat, prompts))


async def _nothing(prompt_tokens: int) -> AsyncGenerator[Any, None]:
    """The pieces of answers of no tokens."""
    yield prompt_tokens


async def _begun(items: AsyncGenerator[Any, None]) -> tuple[int, Any]:
    """The number of prompt tokens and the first piece: errors of both must come before the status line has said 200."""
    try:
        return await anext(items), await anext(items, None)
    except BaseException:
        await items.aclose()
        raise


def _streamed(events: AsyncIterator[bytes]) -> Response:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


def _refused(error: ConfigError | InputError, form: str | None) -> ApiError:
    """What the engine says of settings, as the answer that names the field. form: the field that says what the answer
    must look like."""
    found = re.match(r"sampling\.(\w+)", str(error))
    if found is None:
        of_form = isinstance(error, ConfigError) or error.message.startswith("the constraint")
        field = form if of_form else None
    else:
        field = form if found[1] == "constraint" else found[1]
    said = str(error).replace("sampling.constraint", form or "the form").replace("sampling.", "")
    return ApiError(400, said if field is None or field in said else f"{field}: {said}", field)


async def _translated(items: AsyncIterator[Any], form: str | None) -> AsyncGenerator[Any, None]:
    """The same items; errors become those of the API, and no text of an unexpected one goes out. form: the field that
    says what the answer must look like."""
    try:
        async with aclosing(items) as source:  # type: ignore[type-var]
            async for item in source:
                yield item
    except BusyError:
        raise ApiError(429, "too many requests are waiting; try again shortly", code="queue_full") from None
    except DeadlineError:
        raise ApiError(504, "the answer took too long", code="deadline_exceeded") from None
    except EndingError:
        raise ApiError(503, "the server is ending", code="ending") from None
    except ClientGoneError:
        raise ApiError(499, "the client closed the connection") from None
    except (ConfigError, InputError) as error:
        raise _refused(error, form) from None
    except ApiError:
        raise
    except Exception:
        logger.exception("generation failed")
        raise ApiError(500, "the server failed to make an answer") from None
