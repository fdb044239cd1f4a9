"""A server on a real socket, as `run_server` sets it up."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn

from tutelage.inference.language_model import LanguageModel
from tutelage.serving.app import make_app
from tutelage.serving.connections import guarded
from tutelage.serving.protocol import Limits


@contextlib.contextmanager
def serving(lm: LanguageModel, limits: Limits, api_key: str | None = None) -> Iterator[int]:
    """The port of a server that runs in a thread, with the protocol of `run_server`."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        make_app(lm, limits=limits, api_key=api_key),
        http=guarded(limits),
        ws="none",
        log_level="error",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive()
