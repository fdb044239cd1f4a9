"""Graceful stop: SIGINT and SIGTERM take effect at the end of a step."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Stop:
    """Whether a stop was requested, and by which signal."""

    number = 0

    def __bool__(self) -> bool:
        return self.number != 0


@contextlib.contextmanager
def stop_requested() -> Iterator[Stop]:
    """Context that records SIGINT and SIGTERM, so that the current step finishes; a second signal acts immediately."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: Any) -> None:
        if stop:
            raise KeyboardInterrupt
        stop.number = number

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
