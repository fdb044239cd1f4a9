"""Connections: who says nothing, or says it too slowly, does not keep anybody else out.

uvicorn has a deadline for an idle connection between two requests, but none for one that never sends a request, sends
its head byte by byte, or does not read its answer, and its limit of connections shuts out everybody, /health too. The
protocol here is uvicorn's, with these four things put right.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from tutelage.serving.faults import ApiError
from tutelage.serving.gate import OPEN
from tutelage.serving.protocol import Limits

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send
    from uvicorn.config import Config
    from uvicorn.server import ServerState

SPARE = 32  # connections beyond the limit that may be open, so that /health is read and all else is answered a 503
GRACE = 1.0  # seconds by which the deadline here is later than the application's own, which can say more


def guarded(limits: Limits) -> type[H11Protocol]:
    """The protocol class for `uvicorn.Config(http=...)`, which must get no `limit_concurrency` of its own."""
    return type("Guarded", (GuardedProtocol,), {"limits": limits})


class GuardedProtocol(H11Protocol):
    """HTTP/1.1 with deadlines and with a limit that leaves /health open.

    A request must be there whole within `head_seconds` and then `body_seconds`, an answer be read on within
    `read_seconds`; else the connection is closed, after a 408 where part of a request had come. At most `connections`
    requests are under way, more get a 503 at once. At most `SPARE` connections more than that are open: for a newcomer
    the one is closed that has waited longest without a request.
    """

    limits = Limits()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._inner, self.app = self.app, self._admit
        self._phase: str | None = None  # which part of a request is being waited for
        self._since = 0.0
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    # -- the limit

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self.limits.connections + SPARE:
            waiting = [one for one in self.connections if isinstance(one, GuardedProtocol) and one._phase == "head"]
            min(waiting, key=lambda one: one._since, default=self).transport.abort()

    @property
    def _under_way(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, or a 503 where too many requests are under way. Whoever is open to all is never refused."""
        others = sum(isinstance(one, GuardedProtocol) and one._under_way for one in self.connections if one is not self)
        if others < self.limits.connections or scope["path"] in OPEN:
            await self._inner(scope, receive, send)  # type: ignore[arg-type]
            return
        error = ApiError(503, f"{others} requests are under way, this server allows {self.limits.connections}")
        headers = [(name.encode(), value.encode()) for name, value in _headers(error).items()]
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(error.body).encode()})

    # -- the deadlines

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        # Closing waits until what was written has been taken, which the other side may never do.
        self.loop.call_later(self.limits.read_seconds, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.limits.read_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in (self._deadline, self._unread):
            if timer is not None:
                timer.cancel()

    def _watch(self) -> None:
        """Begin, go on with or end the wait for a part of a request. A part that is late is not given more time."""
        phases: dict[Any, str] = {h11.IDLE: "head", h11.SEND_BODY: "body"}
        phase = None if self.transport.is_closing() else phases.get(self.conn.their_state)
        if phase == self._phase:
            return
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._phase, self._since = phase, time.monotonic()
        if phase is not None:
            seconds = self.limits.head_seconds if phase == "head" else self.limits.body_seconds + GRACE
            self._deadline = self.loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        begun = self._phase == "body" or bool(self.conn.trailing_data[0])
        if begun and not (self._phase == "body" and self.cycle.response_started):
            self._refuse(ApiError(408, f"the {self._phase} of the request did not arrive in time"))
        if self._under_way:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
        self.loop.call_later(self.limits.read_seconds, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered in the API's shape too."""
        if not self._under_way or not self.cycle.response_started:
            self._refuse(ApiError(400, msg))
        self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        body = json.dumps(error.body).encode()
        headers = [*_headers(error).items(), ("content-length", str(len(body)))]
        events = (
            h11.Response(status_code=error.status, headers=headers), h11.Data(data=body), h11.EndOfMessage(),
        )  # fmt: skip
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))


def _headers(error: ApiError) -> dict[str, str]:
    return {"content-type": "application/json", "connection": "close", **error.headers}
