"""Progress of one piece of work outside a run: what, how much, and the time left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console

from tutelage.cli.show import seconds

PLAIN_INTERVAL = 5.0  # seconds between two plain lines


class Meter:
    """One line that is redrawn on a terminal, or occasional plain lines elsewhere. Called with what, done, total,
    unit."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self.what, self.began, self.last, self.first = "", 0.0, 0.0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def clear(self) -> None:
        """Clear the line on a terminal, for whatever is printed next."""
        if self.console.is_terminal and not self.quiet and self.what:
            self.console.file.write("\r\x1b[K")
            self.console.file.flush()

    def __call__(self, what: str, done: float, total: float, unit: str = "requests") -> None:
        now = time.monotonic()
        if what != self.what:
            self.what, self.began, self.last, self.first = what, now, 0.0, done
        if self.quiet or (not self.console.is_terminal and now - self.last < PLAIN_INTERVAL and done < total):
            return
        self.last, made = now, done - self.first
        left = f", {seconds((now - self.began) / made * (total - done))} left" if made > 0 and done < total else ""
        line = f"{what}: {done:,.0f} of {total:,.0f} {unit if total != 1 else unit.removesuffix('s')}{left}"
        if self.console.is_terminal:
            self.console.file.write(f"\r\x1b[K{line}")
            self.console.file.flush()
        else:
            print(line, file=self.console.file)
