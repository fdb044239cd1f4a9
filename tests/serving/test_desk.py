"""The desk: who is not wanted any more stops, and nobody keeps a place for good."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tutelage.serving.desk import Desk, Going
from tutelage.serving.faults import ApiError


def long(going: Going) -> str:
    end = time.monotonic() + 5
    while going() and time.monotonic() < end:
        time.sleep(0.01)
    return "stopped" if time.monotonic() < end else "nobody stopped it"


async def status_of(desk: Desk, gone_at: float = 99.0) -> int:
    begin = time.monotonic()

    async def gone() -> bool:
        return time.monotonic() - begin > gone_at

    with pytest.raises(ApiError) as caught:
        await desk.do(long, gone)
    return caught.value.status


def test_past_the_time_or_without_a_client_the_work_ends_and_the_next_is_done() -> None:
    async def both() -> None:
        desk = Desk(waiting=0, seconds=0.3)
        assert await status_of(desk) == 504
        await asyncio.sleep(0.1)
        assert await status_of(desk, gone_at=0.1) == 499
        await asyncio.sleep(0.1)
        assert await desk.do(lambda _: threading.current_thread().name.startswith("desk"))
        desk.close()

    asyncio.run(both())


def test_beyond_the_line_is_429_and_the_place_comes_back() -> None:
    async def many() -> None:
        desk = Desk(waiting=1, seconds=0.4)
        assert sorted(await asyncio.gather(*(status_of(desk) for _ in range(4)))) == [429, 429, 504, 504]
        await asyncio.sleep(0.2)
        assert await desk.do(lambda _: 1) == 1
        desk.close()

    asyncio.run(many())
