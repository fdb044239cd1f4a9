"""Daft in place of a process pool: the same tasks on the same parts, in processes of this machine or on a Ray cluster.

A task reads some files, or takes one part of the corpus through one step; what it does stands elsewhere, so that the
documents are the same whoever works. Daft says where each task runs, moves it there and brings back what it tells (the
parts themselves are files): on a cluster the folder of the run must be one that all machines see, and the source too.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from tutelage.store.errors import ConfigError, TutelageError

Item = TypeVar("Item")
Result = TypeVar("Result")
Engine = Literal["daft", "ray"]
_ENDING = 1.0  # s
_RUNNERS: dict[Engine, str] = {"daft": "native", "ray": "ray"}
_QUIET = {"DO_NOT_TRACK": "true", "RAY_USAGE_STATS_ENABLED": "0", "DAFT_PROGRESS_BAR": "0"}  # no telemetry


@dataclass(frozen=True, slots=True)
class DaftPool:
    """`map`, as of a process pool. `spread`: tasks go to machines one by one, and not to this one."""

    spread: bool

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """`function` of each item, in the order of the items. Raises the TutelageError of an item that fails."""
        waiting: dict[int, bytes] = {}
        wanted, failed = 0, None
        for number, told in self._told(function, items):
            waiting[number] = told
            while wanted in waiting and not failed:
                result = pickle.loads(waiting.pop(wanted))
                wanted += 1
                if isinstance(result, TutelageError):
                    failed = result
                else:
                    yield result
        if failed:  # only now: what Daft leaves undone can crash this process
            raise failed

    def _told(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[int, bytes]]:
        """(number of an item, what `_results` makes of it), as they are done."""
        import daft

        # In processes, not threads: what a worker remembers between tasks (chunks of text) is not made for several.
        # Daft would take threads all the same if the columns were Python objects.
        in_process = daft.func.batch(return_dtype=daft.DataType.binary(), batch_size=1, use_process=True)
        done = in_process(partial(_results, function))
        frame = daft.from_pydict({"number": list(range(len(items))), "item": [pickle.dumps(item) for item in items]})
        if self.spread and len(items) > 1:
            frame = frame.into_partitions(len(items))
        for row in frame.select(frame["number"], done(frame["item"]).alias("told")).iter_rows():
            yield row["number"], row["told"]


def _results(function: Callable[[Item], Result], items: Any) -> list[bytes]:
    """Of a column of items; items and results are pickled, as between the processes of a pool."""
    return [pickle.dumps(_result(function, pickle.loads(item))) for item in items.to_pylist()]


def _result(function: Callable[[Item], Result], item: Item) -> Result | TutelageError:
    try:
        return function(item)
    except TutelageError as error:  # told as it is; Daft would wrap it
        return error


def daft_pool(engine: Engine) -> DaftPool:
    """Daft on this machine, or on the Ray cluster that RAY_ADDRESS names; without it, one is started here, and ends
    with this process. Raises ConfigError where a package is missing."""
    for package in ("daft", "ray") if engine == "ray" else ("daft",):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"corpus.engine={engine} needs the package {package!r}", hint="pip install 'tutelage[cluster]'"
            )
    os.environ.update(_QUIET)
    os.environ["DAFT_RUNNER"] = name = _RUNNERS[engine]
    import daft

    if engine == "ray":
        import ray

        if not ray.is_initialized():  # and not shut down again: Daft keeps to the cluster that it knows first
            where = os.environ.get("RAY_ADDRESS", "local")
            quiet = {"env_vars": _QUIET}
            ray.init(where, log_to_driver=False, logging_level="error", include_dashboard=False, runtime_env=quiet)
    if daft.get_or_create_runner().name != name:
        raise ConfigError(f"corpus.engine={engine}: Daft already runs otherwise here", hint="start another process")
    # Daft still ends its workers when the last row is there, and crashes an interpreter that ends meanwhile.
    atexit.register(time.sleep, _ENDING)
    return DaftPool(spread=engine == "ray")
