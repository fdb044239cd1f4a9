"""The HTTP server: an OpenAI-style API and a web page to chat on."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tutelage.store.errors import ConfigError

try:
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.responses import HTMLResponse, JSONResponse, Response
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
except ModuleNotFoundError as error:
    raise ConfigError(f"the server needs {error.name}", hint="pip install 'tutelage[serve]'") from None

from tutelage.inference.language_model import LanguageModel
from tutelage.serving import protocol
from tutelage.serving.answer_routes import add_answer_routes
from tutelage.serving.connections import guarded
from tutelage.serving.desk import Desk
from tutelage.serving.faults import ApiError
from tutelage.serving.gate import Gate, is_loopback
from tutelage.serving.metrics import Measured, Metrics
from tutelage.serving.openapi import Served
from tutelage.serving.page import PAGE_HEADERS, page
from tutelage.serving.protocol import Limits
from tutelage.serving.state_routes import add_state_routes
from tutelage.serving.text_routes import add_text_routes, labels_of
from tutelage.serving.worker import Worker
from tutelage.serving.workers import Place

if TYPE_CHECKING:
    from tutelage.pretraining.trace import Index

logger = logging.getLogger(__name__)
TOLD = 1.0  # seconds in which those are told whose answers the end of the server cuts
BACKLOG = 128  # connections that the system keeps until they are accepted


def make_app(
    lm: LanguageModel,
    model_name: str = "tutelage",
    api_key: str | None = None,
    limits: Limits | None = None,
    classifiers: Mapping[str, LanguageModel] | None = None,
    place: Place | None = None,
    traced: Sequence[Index] = (),
) -> FastAPI:
    """The application: chat, completions and what `text_routes` and `state_routes` add, and the page at /.

    Adapters of `lm` are models of their own, `model_name:adapter`; `classifiers`, by name, answer /v1/decisions. With
    `api_key` every route but /health wants it; without, only a loopback Host is answered. Up to `limits.together`
    answers are made at once. place: of a process that is one of several. traced: where /v1/trace looks, indexed by
    the tokenizer of `lm`. Raises ConfigError for an empty key, or a classifier for a language model and the other way
    round.
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
    app.state.worker = worker = Worker(lms, limits.waiting, limits.together)
    judges = _classifiers(classifiers or {}, lms)
    served = {
        name: {"id": name, "object": "model", "created": started, "owned_by": "tutelage", "max_model_len": one.context}
        for name, one in lms.items()
    }
    add_answer_routes(app, lms, served, limits, worker, desk)
    add_text_routes(app, lms, judges, limits, desk)
    if traced:
        from tutelage.serving.tracing import add_trace_route

        add_trace_route(app, lms, traced, limits, desk)
    described = Served([*lms], {name: labels_of(one) for name, one in judges.items()}, limits)
    add_state_routes(app, lms, metrics, worker.one_token, described, place)
    if place is not None:
        place.save(metrics)

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

    return app


def run_server(
    lm: LanguageModel,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str | None = None,
    model_name: str = "tutelage",
    limits: Limits | None = None,
    classifiers: Mapping[str, LanguageModel] | None = None,
    place: Place | None = None,
    traced: Sequence[Index] = (),
) -> None:
    """Serve until interrupted. Raises ConfigError for an address beyond loopback without a key, or one in use.

    place: of a process that is one of several (`run_workers`): it accepts from the socket that they share.
    """
    if place is None:
        listener = listening(host, port, api_key)
        said = f"{model_name} is served at {address(listener)} (Ctrl-C ends)"
    else:
        listener, said = socket.socket(fileno=place.listener), ""
    app = make_app(lm, model_name, api_key, limits, classifiers, place, traced)
    if said:
        print(said, file=sys.stderr)
    limits = limits or Limits()
    config = uvicorn.Config(
        app,
        http=guarded(limits),
        ws="none",
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=math.ceil(limits.drain_seconds + TOLD),
        backlog=BACKLOG if place is None else 1,
    )
    try:
        Server(config, place, app.state.worker, limits.drain_seconds).run(sockets=[listener])
    except KeyboardInterrupt:
        return
    finally:
        listener.close()


def listening(host: str, port: int, api_key: str | None) -> socket.socket:
    """A socket that listens there. Raises ConfigError for an address beyond loopback without a key, or one in use."""
    if api_key is None and not is_loopback(host):
        raise ConfigError(
            f"serving on {host} without a key would let anyone in", hint="give an API key, or serve on 127.0.0.1"
        )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot serve on {host}:{port}: {error}", hint="choose another --port or --host") from None


def address(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Server(uvicorn.Server):
    """uvicorn's, which at its end lets answers be finished for a while, and tells those that are not why they end. As
    one of several workers it says when it serves, and ends when the first process is gone."""

    def __init__(self, config: uvicorn.Config, place: Place | None, worker: Worker, drain: float) -> None:
        super().__init__(config)
        self._place, self._worker, self._drain = place, worker, drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        end = asyncio.get_running_loop().call_later(self._drain, self._worker.close)
        await super().shutdown(sockets)
        end.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._place is None:
            return
        for one in sockets or []:
            # asyncio accepts up to its backlog at once: with one at a time, those who are idle get the next.
            one.listen(BACKLOG)
        self._place.when_alone(self._end)
        self._place.serving()

    def _end(self) -> None:
        self.should_exit = True


def _classifiers(
    classifiers: Mapping[str, LanguageModel], lms: Mapping[str, LanguageModel]
) -> Mapping[str, LanguageModel]:
    for name, one in classifiers.items():
        if name in lms:
            raise ConfigError(f"two models are named {name!r}", hint="give the classifier another name")
        if one.is_reward_model or not one.config.num_labels:
            raise ConfigError(f"{name!r} is no classifier", hint="`tutelage finetune classify FILE` makes one")
    return classifiers


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, error.status, error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return JSONResponse(ApiError(499, "the client closed the connection").body, 499)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, said = request.url.path, str(error.detail)
    if error.status_code == 404:
        said = f"there is no {path} here; GET /openapi.json says what there is"
    elif error.status_code == 405:
        said = f"{request.method} is not for {path}, but {(error.headers or {}).get('Allow', 'another method')}"
    return JSONResponse(ApiError(error.status_code, said).body, error.status_code, error.headers)


async def _failure(request: Request, error: Exception) -> Response:
    return JSONResponse(ApiError(500, "the server failed").body, 500)
