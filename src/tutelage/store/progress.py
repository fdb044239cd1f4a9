"""Progress events at a readable rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tutelage.store.events import EventLog

Item = TypeVar("Item")
_SECONDS = 0.4


def ticker(log: EventLog, what: str, total: float, unit: str) -> Callable[[float], None]:
    """A function to call with what is done so far; it emits at most every 0.4 s, and always the end."""
    last = time.monotonic()

    def tick(done: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SECONDS or done >= total:
            last = now
            log.progress(what, done, total, unit)

    return tick


def batches(log: EventLog, what: str, items: Sequence[Item], size: int, unit: str) -> Iterator[Sequence[Item]]:
    """Slices of `size` items with progress after each."""
    tick = ticker(log, what, len(items), unit)
    for start in range(0, len(items), size):
        yield items[start : start + size]
        tick(min(start + size, len(items)))
