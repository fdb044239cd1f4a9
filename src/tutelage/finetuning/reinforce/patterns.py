"""Regular expressions of the user over generated texts, in a subprocess that is killed on timeout.

Backtracking of a pattern like `(a+)+b` is exponential: on some text of forty letters it does not end, and sooner or
later an answer is such a text. Run as a module, this is the subprocess: JSON lines {"pattern", "texts"} in, lists of
booleans out.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Sequence

from tutelage.store.errors import InputError

SECONDS = 10.0  # for the answers of one rollout, which normally take a thousandth of it


def matches(pattern: str, texts: Sequence[str]) -> list[bool]:
    """Whether the pattern matches somewhere in each text. Raises InputError after `SECONDS` without a result."""
    if not texts:
        return []
    process = _WORKER.running()
    assert process.stdin is not None and process.stdout is not None
    asked = json.dumps({"pattern": pattern, "texts": list(texts)}) + "\n"
    process.stdin.write(asked.encode("ascii"))
    process.stdin.flush()
    found = bytearray()
    while not found.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], SECONDS)
        part = os.read(process.stdout.fileno(), 1 << 20) if ready else b""
        if not part:
            _WORKER.end()
            raise InputError(
                f"the pattern {pattern!r} takes longer than {SECONDS:g} s on an answer of the model",
                hint="nested repetitions like (a+)+ cause this; rewrite the pattern without them",
            )
        found += part
    answers: list[bool] = json.loads(found)
    return answers


class _Worker:
    """The subprocess, started on first use, and again after it was killed or in a fork."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None or self._owner != os.getpid():
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self._owner = os.getpid()
            assert self._process.stdout is not None
            os.read(self._process.stdout.fileno(), 1)  # wait until it is ready: starting Python does not count
        return self._process

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


_WORKER = _Worker()


def main() -> None:
    sys.stdout.write(" ")
    sys.stdout.flush()
    for line in sys.stdin:
        asked = json.loads(line)
        pattern = re.compile(asked["pattern"])
        sys.stdout.write(json.dumps([pattern.search(text) is not None for text in asked["texts"]]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
