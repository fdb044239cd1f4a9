"""Who is let in: one check before every route, so that no route can be forgotten."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re
from typing import TYPE_CHECKING, Any

from tutelage.serving.faults import ApiError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = frozenset({"/health"})


class Gate:
    """ASGI middleware. With a key, all but `OPEN` want it: as a bearer token, or as the password of HTTP Basic.

    Basic is what a browser can ask its user for, so that the page needs no login of its own. Without a key only
    a loopback Host is answered: a foreign name that resolves to this machine (DNS rebinding) is not.
    """

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        self.app, self.key = app, key.encode() if key is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            refusal = self._refusal(scope)
            if refusal is not None:
                await _respond(refusal, scope, receive, send)
                return
            if scope["type"] == "http" and scope["method"] == "HEAD":
                scope = {**scope, "method": "GET"}  # the protocol sends no body of it
        await self.app(scope, receive, send)

    def _refusal(self, scope: Any) -> ApiError | None:
        if scope["type"] == "http" and scope["path"] in OPEN:
            return None
        headers = {name.lower(): value for name, value in scope["headers"]}
        if self.key is None:
            host = headers.get(b"host", b"").decode("latin-1")
            if is_loopback(_without_port(host)):
                return None
            return ApiError(403, "without an API key this server answers on loopback names only", code="host_refused")
        given = _credential(headers.get(b"authorization", b""))
        if given is not None and hmac.compare_digest(given, self.key):
            return None
        return ApiError(401, "the API key is missing or wrong", code="invalid_api_key")


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _without_port(host: str) -> str:
    """The name or address of a Host header; empty for what is none with a port after it."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:[0-9]{0,5})?", host)
    return found[1] if found else ""


def _credential(header: bytes) -> bytes | None:
    scheme, _, value = header.partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except binascii.Error:
            return None
    return None


async def _respond(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    from starlette.responses import JSONResponse
    from starlette.websockets import WebSocketClose

    if scope["type"] == "websocket":
        await WebSocketClose()(scope, receive, send)
        return
    challenge = 'Basic realm="tutelage"' if scope["path"] == "/" else "Bearer"
    headers = {"WWW-Authenticate": challenge} if error.status == 401 else None
    await JSONResponse(error.body, error.status, headers)(scope, receive, send)
