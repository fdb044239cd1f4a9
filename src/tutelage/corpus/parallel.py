"""A process pool whose results do not depend on the number of workers, and which dies with its parent."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Pool(Protocol):
    """What works on tasks: the processes of this module, or Daft (see `daft_pool.py`)."""

    def map(self, function: Callable[[Item], Result], items: Sequence[Item], /) -> Iterator[Result]: ...


@contextmanager
def pool(workers: int) -> Iterator[ProcessPoolExecutor | None]:
    """A pool of `workers` processes (0: one per processor it may use), or None for this process alone."""
    workers = workers or _processors()
    if workers == 1:
        yield None
        return
    # Fork, where there is one: a spawned worker would import the caller's main module again, which a plain
    # script need not survive. The workers run no torch and no threads but the watch below.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        executor = ProcessPoolExecutor(workers, context, _start, (os.getpid(),))
        try:
            yield executor
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def _processors() -> int:
    # Not every system can say what this process may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(parent: int) -> None:
    """Leave Ctrl-C and a scheduler's SIGTERM to the parent; end when the parent is gone, however it went.

    Both go to all processes of a group. A worker that SIGTERM ends while the parent cancels what is left makes the pool
    print a traceback of its own, so workers stand in groups of their own; the pool ends them by SIGTERM.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    # Syntax trees and documents are many small objects without cycles: looking through them costs a tenth of the time.
    gc.set_threshold(100_000, 50, 100)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def ordered_map(executor: Pool | None, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """`function` of each item, in the order of the items."""
    return map(function, items) if executor is None else executor.map(function, items)
