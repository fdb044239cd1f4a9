"""The HTTP server: an OpenAI-style API and a web page to chat on."""

from __future__ import annotations

import logging
import socket
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

from tutelage.store.errors import ConfigError, InputError

try:
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
except ModuleNotFoundError as error:
    raise ConfigError(f"the server needs {error.name}", hint="pip install 'tutelage[serve]'") from None

from tutelage.inference.language_model import LanguageModel
from tutelage.serving import protocol
from tutelage.serving.answers import answer_events, whole_answer
from tutelage.serving.body import read_body
from tutelage.serving.connections import guarded
from tutelage.serving.desk import Desk
from tutelage.serving.gate import Gate, is_loopback
from tutelage.serving.metrics import Measured, Metrics
from tutelage.serving.page import PAGE_HEADERS, page
from tutelage.serving.protocol import ApiError, ChatRequest, CompletionRequest, Limits
from tutelage.serving.state_routes import add_state_routes
from tutelage.serving.text_routes import add_text_routes
from tutelage.serving.worker import BusyError, ClientGoneError, DeadlineError, Worker

logger = logging.getLogger(__name__)


def make_app(
    lm: LanguageModel,
    model_name: str = "tutelage",
    api_key: str | None = None,
    limits: Limits | None = None,
    classifiers: Mapping[str, LanguageModel] | None = None,
) -> FastAPI:
    """The application: chat, completions and what `text_routes` and `state_routes` add, and the page at /.

    Adapters of `lm` are models of their own, `model_name:adapter`; `classifiers`, by name, answer /v1/decisions. With
    `api_key` every route but /health wants it; without, only a loopback Host is answered. Up to `limits.together`
    answers are made at once. Raises ConfigError for an empty key, or a classifier for a language model and the other
    way round.
    """
    if api_key is not None and not api_key.strip():
        raise ConfigError("the API key is empty", hint="give a long random one, or none")
    limits, started = limits or Limits(), int(time.time())
    desk, metrics = Desk(limits.waiting, limits.seconds), Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        worker.close()
        desk.close()

    app = FastAPI(title="tutelage", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_middleware(Gate, key=api_key)
    app.add_middleware(Measured, metrics=metrics)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _failure)
    lms = {model_name: lm, **{f"{model_name}:{name}": one for name, one in lm.adapters.items()}}
    for one in lms.values():
        one.require_text()
    worker = Worker(lms, limits.waiting, limits.together)
    judges = _classifiers(classifiers or {}, lms)
    served = {
        name: {"id": name, "object": "model", "created": started, "owned_by": "tutelage", "max_model_len": one.context}
        for name, one in lms.items()
    }
    add_text_routes(app, lms, judges, limits, desk)
    add_state_routes(app, [*lms], metrics, worker.one_token)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [*served.values()]}

    @app.get("/v1/models/{name}")
    async def model(name: str) -> dict[str, Any]:
        return served[protocol.served_model(name, served)]

    @app.get("/", response_class=HTMLResponse)
    async def chat_page() -> Response:
        return HTMLResponse(page(), headers=PAGE_HEADERS)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        wanted = protocol.parse(ChatRequest, await read_body(request, limits), served, limits)
        messages = [message.plain() for message in wanted.messages]
        most = wanted.max_completion_tokens or wanted.max_tokens
        return await answer(request, wanted, lambda one: one.chat_ids(messages), most, bool(wanted.logprobs), chat=True)

    @app.post("/v1/completions")
    async def complete(request: Request) -> Response:
        wanted = protocol.parse(CompletionRequest, await read_body(request, limits), served, limits)
        prompt = wanted.prompt
        return await answer(request, wanted, lambda one: one.prompt_ids(prompt), wanted.max_tokens, False, chat=False)

    async def answer(
        request: Request,
        wanted: protocol.Request,
        read: Callable[[LanguageModel], list[int]],
        most: int | None,
        logprobs: bool,
        chat: bool,
    ) -> Response:
        lm = lms[wanted.model]
        try:
            sampling = wanted.sampling(most or limits.max_tokens)
        except ConfigError as error:
            raise ApiError(400, str(error).removeprefix("sampling.")) from None
        if isinstance(wanted, ChatRequest) and wanted.top_logprobs:
            sampling = replace(sampling, top_logprobs=wanted.top_logprobs)

        def prompt() -> list[int]:
            ids = read(lm)
            if len(ids) >= lm.context:
                raise ApiError(
                    400,
                    f"the prompt has {len(ids)} tokens, but the context of the model holds {lm.context}, of which "
                    "one at least must be left for the answer; nothing is cut off silently",
                    "messages" if chat else "prompt",
                    "context_length_exceeded",
                )
            return ids

        items = _translated(
            worker.run(wanted.model, prompt, sampling, wanted.choices, limits.seconds, request.is_disconnected)
        )
        head = protocol.answer_head(chat, bool(wanted.stream), wanted.model)
        if not wanted.stream:
            return JSONResponse(await whole_answer(lm, items, head, wanted.choices, logprobs, chat))
        # Errors of the prompt and of the first step must come before the status line has said 200.
        try:
            prompt_tokens, first = await anext(items), await anext(items)
        except BaseException:
            await items.aclose()
            raise
        events = answer_events(lm, items, first, prompt_tokens, head, wanted, logprobs, chat)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    return app


def run_server(
    lm: LanguageModel,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str | None = None,
    model_name: str = "tutelage",
    limits: Limits | None = None,
    classifiers: Mapping[str, LanguageModel] | None = None,
) -> None:
    """Serve until interrupted. Raises ConfigError for an address beyond loopback without a key, or one in use."""
    if api_key is None and not is_loopback(host):
        raise ConfigError(
            f"serving on {host} without a key would let anyone in", hint="give an API key, or serve on 127.0.0.1"
        )
    app = make_app(lm, model_name, api_key, limits, classifiers)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot serve on {host}:{port}: {error}", hint="choose another --port or --host") from None
    shown = f"[{host}]" if ":" in host else host
    print(f"{model_name} is served at http://{shown}:{listener.getsockname()[1]} (Ctrl-C ends)", file=sys.stderr)
    config = uvicorn.Config(
        app,
        http=guarded(limits or Limits()),
        ws="none",
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        return
    finally:
        listener.close()


def _classifiers(
    classifiers: Mapping[str, LanguageModel], lms: Mapping[str, LanguageModel]
) -> Mapping[str, LanguageModel]:
    for name, one in classifiers.items():
        if name in lms:
            raise ConfigError(f"two models are named {name!r}", hint="give the classifier another name")
        if one.is_reward_model or not one.config.num_labels:
            raise ConfigError(f"{name!r} is no classifier", hint="`tutelage finetune classify FILE` makes one")
    return classifiers


async def _translated(items: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    """The same items; errors become those of the API, and no text of an unexpected one goes out."""
    try:
        async with aclosing(items) as source:  # type: ignore[type-var]
            async for item in source:
                yield item
    except BusyError:
        raise ApiError(429, "too many requests are waiting; try again shortly", code="queue_full") from None
    except DeadlineError:
        raise ApiError(504, "the answer took too long", code="deadline_exceeded") from None
    except ClientGoneError:
        raise ApiError(499, "the client closed the connection") from None
    except (InputError, ConfigError) as error:
        raise ApiError(400, str(error)) from None
    except ApiError:
        raise
    except Exception:
        logger.exception("generation failed")
        raise ApiError(500, "the server failed to make an answer") from None


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, error.status, error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return JSONResponse(ApiError(499, "the client closed the connection").body, 499)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(ApiError(error.status_code, str(error.detail)).body, error.status_code, error.headers)


async def _failure(request: Request, error: Exception) -> Response:
    return JSONResponse(ApiError(500, "the server failed").body, 500)
