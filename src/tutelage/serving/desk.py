"""Work with a model that is no generation (encoding, embedding, classifying): a thread of its own, and a short line."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from tutelage.serving.faults import ApiError
from tutelage.store.errors import ConfigError, InputError

T = TypeVar("T")
Going = Callable[[], bool]
LOOK_UP = 0.1  # seconds between two looks at whether the client is still there
logger = logging.getLogger(__name__)


async def _never() -> bool:
    return False


class Desk:
    """Does one piece of work after another, beside the generation, so that nobody waits for an answer's end."""

    def __init__(self, waiting: int, seconds: float) -> None:
        """waiting: how many may stand in line behind the one that is served; seconds: how long one may take."""
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="desk")
        self._places = threading.BoundedSemaphore(waiting + 1)
        self._seconds = seconds

    async def do(self, work: Callable[[Going], T], gone: Callable[[], Awaitable[bool]] = _never) -> T:
        """What `work` returns. It is given a function that says whether its result is still wanted.

        Raises ApiError: 429 where the line is full, 504 past the time, 499 once `gone()`, 400 for what the work calls
        wrong, 500 for all else, of which nothing goes out.
        """
        if not self._places.acquire(blocking=False):
            raise ApiError(429, "too many requests are waiting; try again shortly", code="queue_full")
        stop, end = threading.Event(), time.monotonic() + self._seconds
        # With the context of the request, by which its tokens are counted.
        future = self._pool.submit(copy_context().run, work, lambda: not stop.is_set())
        # The place is free when the work has ended, not when its client has.
        future.add_done_callback(lambda _: self._places.release())
        waited = asyncio.wrap_future(future)
        try:
            while not (await asyncio.wait({waited}, timeout=LOOK_UP))[0]:
                if time.monotonic() >= end:
                    raise ApiError(504, "the work took too long", code="deadline_exceeded")
                if await gone():
                    raise ApiError(499, "the client closed the connection")
            return waited.result()
        except (InputError, ConfigError) as error:
            raise ApiError(400, str(error)) from None
        except ApiError:
            raise
        except Exception:
            logger.exception("work with a model failed")
            raise ApiError(500, "the server failed to do this") from None
        finally:
            stop.set()
            waited.cancel()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
