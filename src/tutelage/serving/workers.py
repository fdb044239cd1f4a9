"""Several processes behind one listening socket: started, watched, started again, drained."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tutelage.serving.metrics import Metrics, Snapshot
from tutelage.store.errors import TutelageError

VARIABLE = "TUTELAGE_WORKER"
END = 7.0  # seconds in which a worker ends by itself once it has finished its answers
AGAIN = 1.0  # seconds until one that ended is started again
TRIES = 3  # times in a row that one may end before it serves
SAVED = 1.0  # seconds between two times that a worker leaves its counters for the others


@dataclass(frozen=True)
class Place:
    """Which of the workers this process is. listener, life: file descriptors of the socket they share, and of one that
    is told when this worker serves and is at its end when the first process is gone. folder: where their counters are.
    """

    number: int
    count: int
    listener: int
    life: int
    folder: str

    @classmethod
    def own(cls) -> Place | None:
        """That of this process; None where it is no worker."""
        given = os.environ.get(VARIABLE)
        return None if given is None else cls(**json.loads(given))

    def serving(self) -> None:
        """Say that requests are answered from now on."""
        os.write(self.life, b"1")

    def when_alone(self, end: Callable[[], None]) -> None:
        """Call `end` when the first process is gone, however it went."""

        def wait() -> None:
            with contextlib.suppress(OSError):
                os.read(self.life, 1)
            end()

        threading.Thread(target=wait, name="life", daemon=True).start()

    def save(self, metrics: Metrics) -> None:
        """Leave the counters for the other workers, from now on again and again."""

        def keep() -> None:
            target = Path(self.folder) / f"{self.number}.json"
            while target.parent.is_dir():
                with contextlib.suppress(OSError):
                    target.with_suffix(".new").write_text(json.dumps(metrics.snapshot()), encoding="utf-8")
                    target.with_suffix(".new").replace(target)
                time.sleep(SAVED)

        threading.Thread(target=keep, name="counters", daemon=True).start()

    def gathered(self, metrics: Metrics) -> dict[str, Snapshot]:
        """Counters of all workers by their number: those of this one as they are, of others as they last left them."""
        found = {str(self.number): metrics.snapshot()}
        for file in sorted(Path(self.folder).glob("*.json")):
            with contextlib.suppress(OSError, ValueError):
                found.setdefault(file.stem, json.loads(file.read_text(encoding="utf-8")))
        return dict(sorted(found.items()))


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    life: socket.socket
    serves: bool = False
    tries: int = 0  # that ended before they served
    ended: float | None = None


@dataclass
class _Team:
    """The workers of one command."""

    command: Sequence[str]
    count: int
    listener: socket.socket
    folder: str
    drain: float
    workers: list[_Worker] = field(default_factory=list)

    def start(self, number: int) -> _Worker:
        ours, theirs = socket.socketpair()
        threads = max(1, len(os.sched_getaffinity(0)) // self.count)
        with theirs:
            place = Place(number, self.count, self.listener.fileno(), theirs.fileno(), self.folder)
            settings = {VARIABLE: json.dumps(asdict(place)), "OMP_NUM_THREADS": str(threads)}
            process = subprocess.Popen(
                self.command, env={**os.environ, **settings}, pass_fds=(place.listener, place.life),
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        ours.setblocking(False)
        return _Worker(number, process, ours)

    def look(self) -> None:
        """See who serves and who has ended; start again what ended. Raises TutelageError where that has no end."""
        for at, one in enumerate(self.workers):
            if not one.serves:
                with contextlib.suppress(BlockingIOError):
                    one.serves = one.life.recv(1) == b"1"
                one.tries = 0 if one.serves else one.tries
            if (code := one.process.poll()) is None:
                continue
            if one.ended is None:
                one.ended, one.tries = time.monotonic(), one.tries + (not one.serves)
                why = f"signal {-code}" if code < 0 else f"exit code {code}"
                if one.tries == TRIES or (not one.serves and code == 2):
                    raise TutelageError(
                        f"worker {one.number} ended before it served ({why})", hint="what it said stands above"
                    )
                print(f"worker {one.number} ended ({why}); it is started again", file=sys.stderr)
            elif time.monotonic() - one.ended > AGAIN:
                one.life.close()
                self.workers[at] = self.start(one.number)
                self.workers[at].tries = one.tries

    def end(self) -> None:
        """SIGTERM for all: they take no more requests, and finish those they have in a while."""
        for one in self.workers:
            with contextlib.suppress(ProcessLookupError):
                one.process.terminate()
        deadline = time.monotonic() + self.drain + END
        for one in self.workers:
            try:
                one.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
            one.life.close()


def run_workers(command: Sequence[str], count: int, listener: socket.socket, served: str, drain: float) -> None:
    """Run `command` in `count` processes that accept from one listening socket, until SIGINT or SIGTERM.

    A worker that ends is started again, which is said. The processors are divided among them. served: what is printed
    once all serve. drain: seconds in which answers under way are finished at the end. Raises TutelageError where a
    worker ends again and again before it serves.
    """
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="tutelage-") as folder, _signals(stop):
        team = _Team(command, count, listener, folder, drain)
        try:
            team.workers = [team.start(number) for number in range(1, count + 1)]
            told = False
            while not stop.wait(0.1):
                team.look()
                if not told and all(one.serves for one in team.workers):
                    print(served, file=sys.stderr, flush=True)
                    told = True
        finally:
            team.end()


@contextlib.contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    def heard(number: int, frame: Any) -> None:
        stop.set()

    old = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
