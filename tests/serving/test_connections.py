"""Connections that never become a request, do so too slowly, or are too many: nobody else is kept out."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

import httpx
import pytest
from served import serving

from tutelage.inference.language_model import LanguageModel
from tutelage.serving.connections import SPARE
from tutelage.serving.protocol import Limits

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


def connected(port: int, sent: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=5)
    client.sendall(sent)
    return client


def everything(client: socket.socket) -> bytes:
    """What comes until the other side closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            received += piece
    return received


def asked(stream: bool = True) -> bytes:
    messages = [{"role": "user", "content": "why?"}]
    body = json.dumps({"model": "tutelage", "messages": messages, "stream": stream}).encode()
    return HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def error_of(response: bytes) -> Any:
    return json.loads(response.partition(b"\r\n\r\n")[2])["error"]


def test_silent_connections_keep_nobody_out(lm: LanguageModel) -> None:
    limits = Limits(connections=4)
    with serving(lm, limits) as port:
        silent = [connected(port) for _ in range(4 + SPARE + 40)]
        for path in ("/health", "/v1/models"):
            assert httpx.get(f"http://127.0.0.1:{port}{path}", timeout=2).status_code == 200
        silent[0].settimeout(2)
        assert everything(silent[0]) == b""  # who waited longest had to go
        for client in silent:
            client.close()


@pytest.mark.parametrize("part", [b"", b"GET /v1/models HT", HEAD])
def test_a_head_that_does_not_end_has_a_deadline(lm: LanguageModel, part: bytes) -> None:
    with serving(lm, Limits(head_seconds=0.3)) as port:
        begin = time.monotonic()
        answer = everything(connected(port, part))
        assert 0.2 < time.monotonic() - begin < 3
        if part:
            assert answer.startswith(b"HTTP/1.1 408") and "head" in error_of(answer)["message"]
        else:
            assert answer == b""


def test_a_head_that_trickles_gets_no_more_time_for_it(lm: LanguageModel) -> None:
    with serving(lm, Limits(head_seconds=0.5)) as port:
        client, begin = connected(port, HEAD), time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - begin < 5:
                client.sendall(b"X: y\r\n")
                time.sleep(0.05)
        assert time.monotonic() - begin < 2


@pytest.mark.parametrize("line", [HEAD, b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_a_body_that_trickles_has_a_deadline_whether_the_route_reads_it_or_not(lm: LanguageModel, line: bytes) -> None:
    with serving(lm, Limits(body_seconds=0.3)) as port:
        client, begin = connected(port, line + b"Content-Length: 1000\r\n\r\n"), time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - begin < 6:
                client.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - begin < 3


def test_a_connection_is_used_again_and_again(lm: LanguageModel) -> None:
    with serving(lm, Limits(head_seconds=0.4)) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(4):
            assert client.get("/v1/models").status_code == 200
            time.sleep(0.2)


def test_more_requests_than_the_limit_get_a_503_and_health_is_answered(slow: Any) -> None:
    with serving(slow, Limits(connections=2, waiting=5, seconds=60)) as port:
        busy = [connected(port, asked()) for _ in range(2)]
        end = time.monotonic() + 5
        while slow.made < 2 and time.monotonic() < end:
            time.sleep(0.01)
        refused = httpx.get(f"http://127.0.0.1:{port}/v1/models", timeout=2)
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
        assert (
            refused.json()["error"]["type"] == "overloaded_error" and "allows 2" in refused.json()["error"]["message"]
        )
        assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
        for client in busy:
            client.close()
        time.sleep(0.5)
        assert httpx.get(f"http://127.0.0.1:{port}/v1/models", timeout=2).status_code == 200


def test_an_answer_that_nobody_reads_is_not_kept(lm: LanguageModel) -> None:
    with serving(lm, Limits(read_seconds=0.3)) as port:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.settimeout(5)
        page = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        begin = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - begin < 10:
                client.sendall(page * 20)
                time.sleep(0.05)
        assert time.monotonic() - begin < 8


def test_what_is_no_http_is_answered_in_the_shape_of_the_api(lm: LanguageModel) -> None:
    with serving(lm, Limits()) as port:
        answer = everything(connected(port, b"\x16\x03\x01 hello\r\n\r\n"))
        assert answer.startswith(b"HTTP/1.1 400") and error_of(answer)["type"] == "invalid_request_error"
