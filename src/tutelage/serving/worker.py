"""One thread that generates, one request at a time; the others wait in a short line."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

LOOK_UP = 0.1  # seconds between two looks at whether the client is still there


class BusyError(Exception):
    """The line is full."""


class DeadlineError(Exception):
    """The request took too long, waiting included."""


class ClientGoneError(Exception):
    """Nobody is there any more to read the answer."""


class Worker:
    """Runs iterators on its thread and hands their items to the event loop.

    An item is made only for a client that is still there: when the consumer ends, for whatever reason, the
    iterator is closed after the item it is working on, or never begun. A failure ends its request alone.
    """

    def __init__(self, waiting: int) -> None:
        """waiting: how many requests may stand in line behind the one that runs."""
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generate")
        self._places = threading.BoundedSemaphore(waiting + 1)
        self._closing = threading.Event()

    async def run(
        self, make: Callable[[], Iterator[Any]], seconds: float, gone: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[Any]:
        """Items of `make()` as they are made. Close it (aclosing) to stop the work.

        Raises BusyError, DeadlineError after `seconds`, ClientGoneError once `gone()`, or what the iterator raises.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError
        loop, queue, stop = asyncio.get_running_loop(), asyncio.Queue[Any](), threading.Event()
        end = time.monotonic() + seconds

        def put(item: Any) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, item)

        future = self._pool.submit(self._work, make, stop, end, put)
        # The place is free when the work has ended, not when its client has.
        future.add_done_callback(lambda _: self._places.release())
        next_look = 0.0
        try:
            while True:
                now = time.monotonic()
                if now >= end:
                    raise DeadlineError
                if now >= next_look:
                    if await gone():
                        raise ClientGoneError
                    next_look = now + LOOK_UP
                try:
                    item = await asyncio.wait_for(queue.get(), min(LOOK_UP, end - now))
                except TimeoutError:
                    continue
                if isinstance(item, _End):
                    if item.error is not None:
                        raise item.error
                    return
                yield item
        finally:
            stop.set()
            future.cancel()

    def close(self) -> None:
        """End what runs and forget what waits."""
        self._closing.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(
        self, make: Callable[[], Iterator[Any]], stop: threading.Event, end: float, put: Callable[[Any], None]
    ) -> None:
        error: Exception | None = None
        try:
            items = make()
            while not stop.is_set():
                if self._closing.is_set():
                    raise ClientGoneError
                if time.monotonic() >= end:
                    raise DeadlineError
                try:
                    item = next(items)
                except StopIteration:
                    break
                put(item)
        except Exception as raised:  # whatever it is, it is the request's and not the thread's
            error = raised
        put(_End(error))


class _End:
    def __init__(self, error: Exception | None) -> None:
        self.error = error
