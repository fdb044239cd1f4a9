"""The ledger of a question: everything that was ever tried on it, so that the tenth trial is judged as the tenth.

`ledger.jsonl` is only appended to. A try is one arm against one other by one measure with a planned number of
seeds; repeating it is the same try and counts once, planning more seeds is another one. All tries in one folder are
judged together: among ten changes, one is "better" by chance far more often than one time in twenty.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.evaluation.compare.corrections import holm
from tutelage.store.errors import DamagedError
from tutelage.store.hashing import sha256_json
from tutelage.store.jsonl import Malformed, read_json_lines

NAME = "ledger.jsonl"


@dataclass
class Ledger:
    """The tries so far by key, each as last recorded."""

    path: Path
    tries: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """Read the ledger of a folder; a last line that a kill truncated is left out. Others: DamagedError."""
        path = folder / NAME
        found = cls(path)
        if not path.exists():
            return found
        _end_last_line(path)
        for number, value in read_json_lines(path):
            if isinstance(value, Malformed) or not isinstance(value, dict) or "try" not in value:
                raise DamagedError(
                    f"{path}, line {number} is damaged",
                    hint="the number of tries is counted from it: restore the file",
                )
            found.tries[str(value["try"])] = value
        return found

    def record(self, key: str, **figures: Any) -> None:
        """Append what is now known of a try, if it is new."""
        known = {name: value for name, value in self.tries.get(key, {}).items() if name != "time"}
        entry = {**known, "try": key, **figures}
        if entry == known:
            return
        entry["time"] = round(time.time(), 3)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.tries[key] = entry

    @property
    def count(self) -> int:
        return len(self.tries)

    def adjusted(self, p: Mapping[str, float]) -> dict[str, float]:
        """Holm's p-values of these tries among all that the ledger holds (Holm 1979); one without a result counts
        too."""
        known = {key: entry["p"] for key, entry in self.tries.items() if entry.get("p") is not None}
        everyone = {**dict.fromkeys(self.tries, 1.0), **known, **p}
        return dict(zip(everyone, holm(list(everyone.values())), strict=True))


def key_of(**what: Any) -> str:
    """The name of a try."""
    return sha256_json(what)[:16]


def _end_last_line(path: Path) -> None:
    """Remove a line that a kill truncated; a complete line always ends with a newline."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        whole = content[: content.rfind(b"\n") + 1]
        with path.open("rb+") as file:
            file.truncate(len(whole))
