"""Locks between processes that share a store, and cleaning up after killed processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from tutelage.store.errors import TutelageError

PATIENCE = 3.0  # s; the workers of a killed process hold its locks until they notice, about a second


@contextlib.contextmanager
def exclusive(path: Path, busy: str, patience: float | None = None) -> Iterator[None]:
    """Hold the lock file `path`; it is released when its process ends, however that happens.

    Raises TutelageError with the message `busy` if another process still holds it after `patience` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    give_up = time.monotonic() + (PATIENCE if patience is None else patience)
    while True:
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            if time.monotonic() < give_up:
                time.sleep(0.1)
                continue
            raise TutelageError(busy, hint="wait for it to finish, or use another folder with --out") from None
        # Its last holder may have removed the file after this process opened it: then the lock is void.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                break
        file.close()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def remove_leftovers(root: Path) -> None:
    """Remove half-written artifacts (`.STAGE-IDENTITY.PID.tmp` or `.old`) that no process is writing any longer."""
    for path in sorted((root / "artifacts").glob(".*.*.*")):
        name, _, end = path.name[1:].rsplit(".", 2)
        if end not in ("tmp", "old"):
            continue
        with contextlib.suppress(TutelageError), exclusive(root / "work" / f"{name}.lock", "in use", patience=0):
            shutil.rmtree(path, ignore_errors=True)
