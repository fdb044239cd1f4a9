"""Several processes of one command on this machine (`--nproc`), in the environment that torchrun would set up."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Any

from tutelage.store.errors import ConfigError

GRACE = 15.0  # s for the others to notice the end of one, or to save after a repeated signal


def is_started() -> bool:
    """Whether this process is already one of several."""
    return "RANK" in os.environ


def run_processes(count: int) -> int:
    """Run this same command in `count` processes and return the exit code of the first one that failed.

    The first process has the terminal. SIGINT and SIGTERM are forwarded to all of them once: they save and stop. When
    one dies the others are stopped; when this process dies they stop by themselves.
    """
    if count < 1:
        raise ConfigError(f"--nproc is {count}", hint="give the number of processes, 1 or more")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    life, held = os.pipe()
    with contextlib.ExitStack() as files:
        errors = [files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(count)]
        return _run(count, port, life, held, errors)


def _run(count: int, port: int, life: int, held: int, errors: Sequence[IO[str]]) -> int:
    processes = []
    for rank in range(count):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count,
                 "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TUTELAGE_LIFE": life}  # fmt: skip
        processes.append(subprocess.Popen(
            [sys.executable, "-m", "tutelage", *sys.argv[1:]],
            env={**os.environ, **{name: str(value) for name, value in place.items()}}, pass_fds=(life,),
            start_new_session=True, stdin=None if rank == 0 else subprocess.DEVNULL,
            stdout=None if rank == 0 else subprocess.DEVNULL, stderr=None if rank == 0 else errors[rank],
        ))  # fmt: skip

    def forward(number: int, frame: Any) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    old = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        failed = _wait(processes)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        os.close(life)
        os.close(held)
    if failed is None:
        return 0
    if failed > 0:
        errors[failed].seek(0)
        print(f"process {failed} ended first: {errors[failed].read().strip()[-600:]}", file=sys.stderr)
    code = processes[failed].returncode
    return 128 - code if code < 0 else code


def _wait(processes: list[subprocess.Popen[bytes]]) -> int | None:
    """The number of the process that failed first, once all have ended; None if none did."""
    failed: int | None = None
    deadline = float("inf")
    while any(process.poll() is None for process in processes):
        if failed is None:
            failed = next((rank for rank, process in enumerate(processes) if process.poll()), None)
            deadline = time.monotonic() + GRACE if failed is not None else deadline
        if time.monotonic() > deadline:
            for process in processes:
                if process.poll() is None:
                    process.kill()
        time.sleep(0.05)
    return failed if failed is not None else next(
        (rank for rank, process in enumerate(processes) if process.returncode), None
    )  # fmt: skip
