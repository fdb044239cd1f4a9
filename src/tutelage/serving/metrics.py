"""What the server has done, as Prometheus reads it. Counters of this process, from its start on."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_current: ContextVar[Metrics | None] = ContextVar("metrics", default=None)

Snapshot = dict[str, dict[str, float]]
"""Name -> labels -> value."""

HELP = {
    "tutelage_requests_total": ("counter", "Requests by route and status."),
    "tutelage_request_seconds_total": ("counter", "Seconds spent on requests, by route, until the end of the answer."),
    "tutelage_tokens_total": ("counter", "Tokens read (prompt) and made (completion)."),
    "tutelage_requests_in_flight": ("gauge", "Requests under way."),
    "tutelage_drafts_total": ("counter", "Tokens drafted by speculation, and those of them that were right."),
}


class Metrics:
    """Counts; may be used from any thread. Routes that do not exist count together, so that nobody can fill the memory
    with names."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in HELP}

    def add(self, name: str, labels: str = "", value: float = 1) -> None:
        with self._lock:
            self._counts[name][labels] += value  # type: ignore[assignment]

    def set(self, name: str, labels: str, value: float) -> None:
        """What is counted elsewhere."""
        with self._lock:
            self._counts[name][labels] = value  # type: ignore[assignment]

    def snapshot(self) -> Snapshot:
        """What was counted so far."""
        with self._lock:
            return {name: dict(counts) for name, counts in self._counts.items()}

    def text(self) -> str:
        """In the text format 0.0.4."""
        return exposition({"": self.snapshot()})


def exposition(workers: Mapping[str, Snapshot]) -> str:
    """Counters of several workers (of one without a name: "") in Prometheus' text format 0.0.4, each with the label
    `worker`."""
    lines = []
    for name, (kind, words) in HELP.items():
        lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
        for worker, counted in workers.items():
            for labels, value in sorted(counted.get(name, {}).items()):
                more = ",".join(part for part in (labels.strip("{}"), f'worker="{worker}"' if worker else "") if part)
                lines.append(f"{name}{f'{{{more}}}' if more else ''} {value}")
    return "\n".join(lines) + "\n"


def count_tokens(prompt: int, completion: int) -> None:
    """Count tokens of the request that is being answered; elsewhere nothing happens."""
    found = _current.get()
    if found is not None:
        found.add("tutelage_tokens_total", '{kind="prompt"}', prompt)
        found.add("tutelage_tokens_total", '{kind="completion"}', completion)


class Measured:
    """ASGI middleware, the outermost: counts every request, those that are refused too."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, begin = 0, time.monotonic()

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = _current.set(self.metrics)
        self.metrics.add("tutelage_requests_in_flight")
        try:
            await self.app(scope, receive, sent)
        finally:
            _current.reset(token)
            self.metrics.add("tutelage_requests_in_flight", value=-1)
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.add("tutelage_requests_total", f'{{route="{route}",status="{status or 500}"}}')
            self.metrics.add("tutelage_request_seconds_total", f'{{route="{route}"}}', time.monotonic() - begin)
