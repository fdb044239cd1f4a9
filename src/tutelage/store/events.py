"""The event log: one append-only JSON-lines file, the only source of progress, plots and report.

Kinds of event (field `event`), all with `time` (Unix seconds) and, inside a stage, `stage`:

- `run_start` / `run_end`: `recipe`, `status`
- `stage_start` / `stage_end`: `stage`, `identity`, `status` (`ran` | `cached` | `skipped`), `seconds`, `metrics`
- `progress`: `what`, `done`, `total`, `unit` of anything that takes over two seconds
- `step`: `step`, `total`, `loss`, `lr`, `grad_norm`, `tokens_per_second`, `gemm_share` or `mfu`, `tokens` and objective
  metrics
- `validation`: `step` and named metrics
- `layers`: `step` and lists with one value per block: `weight_rms`, `grad_rms`, `update_ratio`, `activation_rms`
- `forecast`: `seconds` and `memory_mb` of training (memory of the process, or allocated on the GPU), from its first
  steps
- `tuning`: the settings that were tried, with their seconds per step, and those that are used
- `sample`: `title`, `prompt`, `text`
- `note` / `warning`: `message`; a warning may have details, which terminals do not show
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Listener = Callable[[dict[str, Any]], None]


class EventLog:
    """Appends events to a file (or nowhere) and hands each to the listeners.

    `stage` is stamped on every event; `for_stage` gives a log of the same file for one stage.
    """

    def __init__(self, path: Path | None = None, listeners: tuple[Listener, ...] = (), stage: str | None = None):
        self.path, self.listeners, self.stage = path, listeners, stage
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)

    def for_stage(self, stage: str) -> EventLog:
        return EventLog(self.path, self.listeners, stage)

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event. Fields must be JSON-ready; non-finite floats are written as strings."""
        record: dict[str, Any] = {"event": event, "time": round(time.time(), 3)}
        if self.stage is not None:
            record["stage"] = self.stage
        record.update({key: plain(value) for key, value in fields.items()})
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        for listener in self.listeners:
            listener(record)

    def progress(self, what: str, done: float, total: float, unit: str = "") -> None:
        self.emit("progress", what=what, done=done, total=total, unit=unit)

    def note(self, message: str) -> None:
        self.emit("note", message=message)

    def warn(self, message: str, **details: Any) -> None:
        """Log a warning; terminals show only the message, `details` are in the file."""
        self.emit("warning", message=message, **details)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Events of a log file; an incomplete last line is skipped."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


def plain(value: Any) -> Any:
    """JSON-ready copy of a value; a float that is not finite becomes its name, because JSON has none."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and callable(value.item):
        return plain(value.item())
    return value
