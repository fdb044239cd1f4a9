"""Errors with a message (what and where) and a hint (what to do)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from signal import SIGINT


class TutelageError(Exception):
    """Base of every error a user may see: one line of what and where, one of what to do.

    `exit_code` is what the command line ends with: 2 for a wrong key or value, 1 for a failure at run time.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(TutelageError):
    """A wrong key or value in a recipe or on the command line."""

    exit_code = 2


class InputError(TutelageError):
    """Data that cannot be used: empty, malformed, not text."""


class DamagedError(TutelageError):
    """A file of an artifact or checkpoint is missing or does not match its recorded hash."""


class TrainingError(TutelageError):
    """Training cannot continue: non-finite loss, a first loss far from ln V, a row without targets."""


class Interrupted(TutelageError):
    """The user or the scheduler asked to stop; everything up to the last checkpoint is kept.

    The exit code is the shell's for the signal: 130 after SIGINT, 143 after SIGTERM, on which a scheduler may requeue.
    """

    def __init__(self, message: str, *, hint: str | None = None, signal: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + (signal or SIGINT)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """A hint with the closest allowed spelling, or all of them if none is close."""
    names = sorted(allowed)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}? allowed: {', '.join(names)}"
    return f"allowed: {', '.join(names)}"
