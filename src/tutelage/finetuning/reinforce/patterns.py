"""Regular expressions of the user over texts of a model, in a process that is ended when it takes too long.

A pattern like `(a+)+b` takes longer than anyone lives on some text of forty letters, and a sampled answer is such a
text sooner or later. Run as a module this is that process: JSON lines {"pattern", "texts"} in, a list of booleans out.
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

SECONDS = 10.0  # for the answers of one rollout, which take a thousandth of that


def matches(pattern: str, texts: Sequence[str]) -> list[bool]:
    """Whether the pattern is found in each text. Raises InputError where it takes longer than `SECONDS`."""
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
                hint="nested repetitions like (a+)+ do; write it without",
            )
        found += part
    answers: list[bool] = json.loads(found)
    return answers


class _Worker:
    """The process, started when it is first needed, and again after it was ended or in a fork."""

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
            os.read(self._process.stdout.fileno(), 1)  # it is ready: starting Python is not the pattern's time
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
