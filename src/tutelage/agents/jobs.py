"""Commands of `tutelage` as processes: waited for a while, joined by the same call again, ended with the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.store.errors import ConfigError

MOST_JOBS = 4
MEANING = {
    0: "done",
    1: "failed at run time",
    2: "wrong key, value or use",
    3: "compare: something is significantly worse; ablate: nothing is better",
    4: "too few items or seeds to tell",
    130: "interrupted",
    143: "interrupted",
}


@dataclass(frozen=True)
class Place:
    """An argument that names a file in the job's own folder, which is gone with the job: `option` + folder + `name`."""

    option: str
    name: str


@dataclass(frozen=True)
class Command:
    """What is run: arguments, and files that lie in the job's folder (`stdin` among them)."""

    arguments: tuple[str | Place, ...]
    files: tuple[tuple[str, str], ...] = ()


@dataclass
class Job:
    """A running command and the files that its output goes to."""

    process: asyncio.subprocess.Process
    folder: tempfile.TemporaryDirectory[str]
    begin: float = field(default_factory=time.monotonic)

    def read(self, name: str, limit: int, end: bool = False) -> tuple[str, int]:
        """At most `limit` bytes of a stream, from its beginning or its end, and how many there are."""
        path = Path(self.folder.name) / name
        size = path.stat().st_size
        with path.open("rb") as file:
            if end and size > limit:
                file.seek(size - limit)
            return file.read(limit).decode("utf-8", "replace"), size


class Jobs:
    """At most one process for each command line; `limit`: characters of output that are handed on."""

    def __init__(self, root: Path, limit: int, environment: Mapping[str, str], command: Sequence[str] = ()) -> None:
        self.root, self.limit, self.environment = root, limit, dict(environment)
        self.command = list(command) or [sys.executable, "-m", "tutelage"]
        self.running: dict[Command, Job] = {}

    async def call(self, command: Command, wait: float) -> dict[str, Any]:
        """Run the command, or go on waiting for it if it is running; its result, or how far it is after `wait` seconds.

        Raises ConfigError where too many others are running.
        """
        if command not in self.running:
            if len(self.running) >= MOST_JOBS:
                raise ConfigError(f"{MOST_JOBS} commands are running", hint="wait for one: call it again")
            self.running[command] = await self._start(command)
        job = self.running[command]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(job.process.wait()), wait)
        if job.process.returncode is None:
            said, _ = job.read("stderr", 2000, end=True)
            return {
                "status": "running",
                "seconds": round(time.monotonic() - job.begin, 1),
                "last_lines": said.replace("\r", "\n").strip().splitlines()[-5:],
                "next": "call again with the same arguments to keep waiting; nothing is run twice",
            }
        self.running.pop(command, None)
        with job.folder:
            return self._result(job)

    async def _start(self, command: Command) -> Job:
        folder = tempfile.TemporaryDirectory(prefix="tutelage-mcp-")
        place = Path(folder.name)
        for name, content in (("stdin", ""), *command.files):
            (place / name).write_text(content, encoding="utf-8")
        given = [one if isinstance(one, str) else f"{one.option}{place / one.name}" for one in command.arguments]
        with contextlib.ExitStack() as files:
            stdin, stdout, stderr = (
                files.enter_context((place / name).open(mode))
                for name, mode in (("stdin", "rb"), ("stdout", "wb"), ("stderr", "wb"))
            )
            process = await asyncio.create_subprocess_exec(
                *self.command, *given, stdin=stdin, stdout=stdout, stderr=stderr, cwd=self.root,
                env={**os.environ, **self.environment},
            )  # fmt: skip
        return Job(process, folder)

    def _result(self, job: Job) -> dict[str, Any]:
        code = int(job.process.returncode or 0)
        said, size = job.read("stdout", self.limit)
        found: dict[str, Any] = {
            "exit_code": code,
            "meaning": MEANING.get(code, "ended by a signal" if code < 0 else "failed"),
        }
        errors, _ = job.read("stderr", 2000, end=True)
        if code not in (0, 3, 4):
            lines = [line for line in errors.splitlines() if line.startswith(("error:", "hint:"))]
            found["error"] = "\n".join(lines) or errors.strip()[-500:]
        if size > self.limit:
            found |= {"truncated": True, "characters": size, "text": said}
            return found
        if said.strip():
            found["result"] = _parsed(said)
        return found

    async def close(self) -> None:
        """End what is still running: a run saves its checkpoint and can be gone on with."""
        for job in self.running.values():
            if job.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    job.process.terminate()
        for job in self.running.values():
            try:
                await asyncio.wait_for(job.process.wait(), 20)
            except TimeoutError:
                job.process.kill()
                await job.process.wait()
            with contextlib.suppress(OSError):
                job.folder.cleanup()
        self.running.clear()


def _parsed(said: str) -> Any:
    """JSON, several lines of it, or the text as it is."""
    try:
        return json.loads(said)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in said.splitlines() if line.strip()]
    except ValueError:
        return said
