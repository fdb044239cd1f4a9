"""Work with a model that is no generation (encoding, embedding, classifying): a thread of its own, and a short line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tutelage.serving.protocol import ApiError
from tutelage.store.errors import ConfigError, InputError

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Desk:
    """Does one piece of work after another, beside the generation, so that nobody waits for an answer's end."""

    def __init__(self, waiting: int, seconds: float) -> None:
        """waiting: how many may stand in line behind the one that is served; seconds: how long one may take."""
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="desk")
        self._room, self._seconds = waiting + 1, seconds

    async def do(self, work: Callable[[], T]) -> T:
        """What `work` returns. Raises ApiError: 429 where the line is full, 504 past the time, 400 for what the work
        calls wrong, 500 for all else, of which nothing goes out."""
        if self._room <= 0:
            raise ApiError(429, "too many requests are waiting; try again shortly", code="queue_full")
        self._room -= 1
        loop = asyncio.get_running_loop()
        future = self._pool.submit(work)
        # The place is free when the work has ended, not when its client has.
        future.add_done_callback(lambda _: loop.is_closed() or loop.call_soon_threadsafe(self._leave))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except TimeoutError:
            raise ApiError(504, "the work took too long", code="deadline_exceeded") from None
        except (InputError, ConfigError) as error:
            raise ApiError(400, str(error)) from None
        except ApiError:
            raise
        except Exception:
            logger.exception("work with a model failed")
            raise ApiError(500, "the server failed to do this") from None

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self) -> None:
        self._room += 1
