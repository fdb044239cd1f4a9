"""The server on a real socket: who goes away stops the work, who dawdles is sent away, a taken port is said."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

import httpx
import pytest
import uvicorn
from served import serving

from tutelage.inference.grammar import Grammar
from tutelage.inference.language_model import LanguageModel
from tutelage.serving.app import Server, make_app, run_server
from tutelage.serving.connections import guarded
from tutelage.serving.protocol import Limits
from tutelage.store.errors import ConfigError


def body(stream: bool) -> bytes:
    messages = [{"role": "user", "content": "why?"}]
    return json.dumps({"model": "tutelage", "messages": messages, "stream": stream}).encode()


def opened(port: int, content: bytes, declared: int | None = None) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=5)
    length = len(content) if declared is None else declared
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n"
    client.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + content)
    return client


def wait_until(true: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize("stream", [True, False])
def test_who_goes_away_stops_the_work_and_frees_the_place(slow: Any, stream: bool) -> None:
    with serving(slow, Limits(waiting=0, together=1, seconds=60)) as port:
        client = opened(port, body(stream))
        wait_until(lambda: slow.made >= 3)
        busy = httpx.post(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            content=body(False),
            headers={"content-type": "application/json"},
        )
        assert busy.status_code == 429
        client.close()
        time.sleep(0.5)
        made = slow.made
        time.sleep(0.2)
        assert slow.made == made < 100
        again = opened(port, body(True))  # the place is free: a stream begins
        assert b"200 OK" in again.recv(4096)
        again.close()


def test_a_request_that_waits_and_goes_away_is_never_begun(slow: Any) -> None:
    with serving(slow, Limits(waiting=3, together=1, seconds=60)) as port:
        first = opened(port, body(True))
        wait_until(lambda: slow.made >= 1)
        second = opened(port, body(True))
        time.sleep(0.2)
        second.close()
        time.sleep(0.3)
        first.close()
        time.sleep(0.4)
        made = slow.made
        time.sleep(0.2)
        assert slow.made == made


def test_health_answers_while_the_model_works(slow: Any) -> None:
    with serving(slow, Limits(seconds=60)) as port:
        client = opened(port, body(True))
        wait_until(lambda: slow.made >= 1)
        assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
        client.close()


def test_a_body_that_does_not_arrive_is_not_waited_for(lm: LanguageModel) -> None:
    with serving(lm, Limits(body_seconds=0.2)) as port:
        client = opened(port, b'{"model":', declared=500)
        assert client.recv(4096).startswith(b"HTTP/1.1 408")
        client.close()


def test_streamed_pieces_arrive_as_they_are_made(slow: Any) -> None:
    with serving(slow, Limits(seconds=60)) as port:
        client = opened(port, body(True))
        received = b""
        while received.count(b'"content": "x"') < 2:
            received += client.recv(4096)
        assert slow.made < 50
        client.close()


def test_a_form_that_takes_long_to_compile_keeps_nobody_waiting(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiling, done = threading.Event(), threading.Event()

    def compile_slowly(*_: Any) -> None:
        compiling.set()
        done.wait(30)
        raise ConfigError("too long")

    monkeypatch.setattr(Grammar, "_compile", compile_slowly)
    with serving(lm, Limits(seconds=20)) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}/v1") as http:
        fields = {"model": "tutelage", "prompt": "a", "max_tokens": 2}
        late = threading.Thread(target=http.post, args=["/completions"], kwargs={"json": {**fields, "regex": "a"}})
        late.start()
        assert compiling.wait(10)
        assert http.post("/completions", json=fields).status_code == 200 and late.is_alive()
        done.set()
        late.join()


def test_an_answer_that_the_end_of_the_server_cuts_says_so(slow: Any) -> None:
    app = make_app(slow, limits=Limits(seconds=60))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=guarded(Limits()), ws="none", log_level="error", timeout_graceful_shutdown=5)
    server = Server(config, None, app.state.worker, 0.3)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    client = opened(listener.getsockname()[1], body(True))
    received = b""
    while received.count(b'"content": "x"') < 2:
        received += client.recv(4096)
    server.should_exit = True
    while part := client.recv(4096):
        received += part
    thread.join(10)
    listener.close()
    last = [line for line in received.split(b"\r\n") if line.startswith(b"data: ")][-1]
    assert json.loads(last[6:])["error"]["message"] == "the server is ending"
    assert b"[DONE]" not in received and not thread.is_alive()


def test_a_port_in_use_is_one_clear_error(lm: LanguageModel) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, pytest.raises(ConfigError, match=r"cannot serve on 127\.0\.0\.1:.*choose another"):
        run_server(lm, port=taken.getsockname()[1])
    with pytest.raises(ConfigError, match="cannot serve on"):
        run_server(lm, port=70000)
