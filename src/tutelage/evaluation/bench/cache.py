"""A persistent cache of answers by model, tokenizer, precision and request; several processes can share it, and a
killed run resumes from it."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tutelage.evaluation.bench.protocol import Likelihood, Measured, Pair, Request, Roll, Written
from tutelage.store.errors import DamagedError
from tutelage.store.hashing import sha256_json

VERSION = 1  # raise it when the answer to the same request changes
Answer = Likelihood | Written
_AT_ONCE = 500  # keys per query
_PATIENCE = 120.0  # seconds that a process waits for a lock


def default_path() -> Path:
    """$TUTELAGE_CACHE, or `tutelage` in the user's cache folder."""
    given = os.environ.get("TUTELAGE_CACHE")
    base = Path(given).expanduser() if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (base if given else base / "tutelage") / "answers.sqlite"


class AnswerCache:
    """A table of answers in an SQLite file, or in memory without a path.

    Each `put` is one transaction, durable when it returns: kill -9 loses only the work in progress.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path or ":memory:", timeout=_PATIENCE)
            self._write_ahead()
            self._db.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT) WITHOUT ROWID")
        except sqlite3.DatabaseError as error:
            raise DamagedError(
                f"the cache {path} cannot be read: {error}", hint="delete it; the answers are computed again"
            ) from None

    def _write_ahead(self) -> None:
        """Switch to WAL mode, for concurrent readers and a writer. When several processes switch a new file at once,
        SQLite reports "locked" to all but one immediately, without the busy timeout."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorname not in ("SQLITE_BUSY", "SQLITE_LOCKED") or time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def get(self, keys: Sequence[str]) -> dict[str, Answer]:
        """The cached answers among the keys."""
        found: dict[str, Answer] = {}
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            for key, answer in self._db.execute(f"SELECT key, answer FROM answers WHERE key IN ({marks})", part):
                found[key] = _answer(json.loads(answer))
        return found

    def put(self, answers: Iterable[tuple[str, Answer]]) -> None:
        rows = [(key, json.dumps(asdict(answer))) for key, answer in answers]
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)

    def close(self) -> None:
        self._db.close()


def key_of(model: Measured, request: Request) -> str:
    """Hash of everything that an answer depends on."""
    kind = "pair" if isinstance(request, Pair) else "roll" if isinstance(request, Roll) else "ask"
    return sha256_json(
        [VERSION, model.identity, model.tokenizer, model.precision, model.context, kind, asdict(request)]
    )


def _answer(data: dict[str, Any]) -> Answer:
    return Likelihood(**data) if "logprob" in data else Written(**data)
