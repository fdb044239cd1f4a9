"""The state of a run, from its event log alone: running, finished, failed or dead."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.store import format as f
from tutelage.store.errors import ConfigError
from tutelage.store.plain import Record, as_dict, as_float

EVENTS = "events.jsonl"
SILENT, SILENT_GAPS = 60.0, 8.0  # seconds without an event; and multiple of the longest recent gap
RECENT = 40  # steps that the pace is measured over
KEPT_GAPS = 200
DONE = ("ran", "cached", "skipped")


@dataclass
class Stage:
    """A stage of the run so far. `status`: waiting, running, or how it ended."""

    name: str
    status: str = "waiting"
    seconds: float | None = None
    forecast: float | None = None  # seconds


@dataclass
class Curve:
    """The curves of the current stage: (step, loss) in training and (step, loss) on held-out rows."""

    losses: list[tuple[float, float]] = field(default_factory=list)
    validations: list[tuple[float, float]] = field(default_factory=list)
    times: list[tuple[float, float]] = field(default_factory=list)  # (step, when)


@dataclass
class Live:
    """The state of the last run in a log. `figures`: the last step's. `memory`: bytes of the process, by its
    forecast."""

    name: str = ""
    began: float | None = None
    last: float | None = None
    status: str = "unknown"
    stages: dict[str, Stage] = field(default_factory=dict)
    stage: str = ""
    what: str = ""
    done: float = 0.0
    total: float = 0.0
    unit: str = ""
    figures: Record = field(default_factory=dict)
    memory: float | None = None
    curve: Curve = field(default_factory=Curve)
    curve_of: str = ""
    warnings: list[str] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)  # seconds between events

    def condition(self, now: float) -> str:
        """`running`, `silent` (dead, stopped, or in a long step), or how it ended."""
        if self.status != "running" or self.last is None:
            return self.status
        patience = max(SILENT, SILENT_GAPS * max(self.gaps, default=0.0))
        return "silent" if now - self.last > patience else "running"

    def seconds_left(self) -> float | None:
        """Time left in the current stage's training, by the pace of the last steps; None if it does not train."""
        steps = self.curve.times[-RECENT:]
        if self.what != "training" or len(steps) < 2 or steps[-1][0] <= steps[0][0]:
            return None
        pace = (steps[-1][1] - steps[0][1]) / (steps[-1][0] - steps[0][0])
        return max(0.0, self.total - self.done) * pace

    def seconds_ahead(self) -> float:
        """Time of pending stages, as forecast when the run started."""
        return sum(one.forecast or 0.0 for one in self.stages.values() if one.status == "waiting")


def advanced(live: Live, events: Iterable[Record]) -> Live:
    """The state after these events too. A new run in the same log starts a new state."""
    for event in events:
        kind = str(event.get("event"))
        if kind == "run_start":
            live = _begun(event)
        elif kind in _HANDLERS:
            _HANDLERS[kind](live, event)
        _clock(live, event)
    return live


class Tail:
    """Reads what was added to a log since the last call. Damaged lines are counted."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset, self.damaged = path, 0, 0

    def new(self) -> list[Record]:
        """Complete lines only: a line that is being written is read at the next call."""
        try:
            if self.path.stat().st_size < self.offset:  # begun anew
                self.offset = 0
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        return [event for line in whole.splitlines() if (event := self._event(line)) is not None]

    def _event(self, line: bytes) -> Record | None:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self.damaged += 1
            return None
        return event


def open_log(run: Path) -> Tail:
    """The log of a run folder, or the log itself. Raises ConfigError if there is none."""
    path = run if run.is_file() else run / EVENTS
    if not path.is_file():
        raise ConfigError(f"{run} has no {EVENTS}", hint="name a run folder, e.g. runs/quickstart")
    return Tail(path)


def conclusion(live: Live, now: float) -> str:
    """The state of the run, in a sentence."""
    since = f.duration(now - live.last) if live.last is not None else f.NONE
    took = f.duration(live.last - live.began) if live.last is not None and live.began is not None else f.NONE
    said = {
        "running": f"Running for {took}; last heard of {since} ago.",
        "silent": f"No event for {since}: the process is dead or stopped. The same command resumes it.",
        "done": f"Finished after {took}, {since} ago.",
        "failed": f"Failed after {took}.",
        "interrupted": f"Interrupted after {took}. The same command resumes it.",
    }
    return said.get(live.condition(now), "No run has started in this log.")


def plain(live: Live, now: float) -> Record:
    """Everything as plain data."""
    left = live.seconds_left()
    return {
        "recipe": live.name,
        "condition": live.condition(now),
        "stages": [{"stage": one.name, "status": one.status, "seconds": one.seconds} for one in live.stages.values()],
        "stage": live.stage or None,
        "what": live.what or None,
        "done": live.done,
        "total": live.total,
        "figures": live.figures,
        "validation": live.curve.validations[-1][1] if live.curve.validations else None,
        "seconds_left_in_stage": None if left is None else round(left, 1),
        "seconds_of_waiting_stages": round(live.seconds_ahead(), 1),
        "memory_bytes": live.memory,
        "warnings": live.warnings,
        "seconds_since_last_event": None if live.last is None else round(max(0.0, now - live.last), 1),
    }


def smoothed(points: Sequence[tuple[float, float]], count: int) -> list[float]:
    """Means of the curve in at most `count` parts of equal length."""
    size = max(1, -(-len(points) // count))
    parts = [points[at : at + size] for at in range(0, len(points), size)]
    return [sum(value for _, value in part) / len(part) for part in parts]


def _begun(event: Record) -> Live:
    forecast, names = as_dict(event.get("forecast")), event.get("stages")
    stages = {str(name): Stage(str(name), forecast=_seconds(forecast.get(str(name)))) for name in names or ()}
    return Live(str(event.get("recipe") or ""), as_float(event.get("time")), status="running", stages=stages)


def _clock(live: Live, event: Record) -> None:
    at = as_float(event.get("time"))
    if at is None:
        return
    if live.last is not None:
        live.gaps = [*live.gaps[-KEPT_GAPS:], max(0.0, at - live.last)]
    live.last = at


def _run_end(live: Live, event: Record) -> None:
    live.status = str(event.get("status") or "done")
    _idle(live)


def _stage_start(live: Live, event: Record) -> None:
    _idle(live)
    live.stage = str(event.get("stage") or "")
    live.stages.setdefault(live.stage, Stage(live.stage))
    live.stages[live.stage].status = "running"


def _stage_end(live: Live, event: Record) -> None:
    name = str(event.get("stage") or "")
    stage = live.stages.setdefault(name, Stage(name))
    stage.status, stage.seconds = str(event.get("status") or ""), as_float(event.get("seconds"))
    if (peak := as_float(event.get("peak_memory_mb"))) is not None and stage.status == "ran":
        live.memory = peak * 2**20
    _idle(live)


def _idle(live: Live) -> None:
    """Between two stages nothing is done."""
    live.stage, live.what, live.done, live.total, live.figures = "", "", 0.0, 0.0, {}


def _progress(live: Live, event: Record) -> None:
    live.what, live.unit = str(event.get("what") or ""), str(event.get("unit") or "")
    live.done, live.total = as_float(event.get("done")) or 0.0, as_float(event.get("total")) or 0.0


def _step(live: Live, event: Record) -> None:
    stage = str(event.get("stage") or "")
    if stage != live.curve_of:
        live.curve, live.curve_of = Curve(), stage
    step, loss, when = (as_float(event.get(key)) for key in ("step", "loss", "time"))
    live.what, live.unit, live.done, live.total = "training", "steps", step or 0.0, as_float(event.get("total")) or 0.0
    live.figures = {
        key: value for key, value in event.items() if key not in ("event", "time", "stage", "step", "total")
    }
    if step is None or when is None:
        return
    live.curve = _before(live.curve, step)  # after a resume steps repeat, and the later record counts
    live.curve.times.append((step, when))
    if loss is not None:
        live.curve.losses.append((step, loss))


def _before(curve: Curve, step: float) -> Curve:
    if not curve.times or curve.times[-1][0] < step:
        return curve
    kept = [[point for point in points if point[0] < step] for points in (curve.losses, curve.validations)]
    return Curve(kept[0], kept[1], [])


def _validation(live: Live, event: Record) -> None:
    figures = event.get("validation") if isinstance(event.get("validation"), dict) else event
    step, loss = as_float(event.get("step")), as_float(as_dict(figures).get("loss"))
    if step is not None and loss is not None:
        live.curve.validations.append((step, loss))


def _warning(live: Live, event: Record) -> None:
    message = str(event.get("message") or "")
    if message and message not in live.warnings:
        live.warnings.append(message)


def _forecast(live: Live, event: Record) -> None:
    if (megabytes := as_float(event.get("memory_mb"))) is not None:
        live.memory = megabytes * 2**20


def _seconds(told: Any) -> float | None:
    """Of a stage's forecast as the log has it: a figure, or low, middle and high."""
    seconds = as_dict(told).get("seconds") if isinstance(told, dict) else told
    return as_float(seconds[1]) if isinstance(seconds, list) and len(seconds) == 3 else as_float(seconds)


_HANDLERS = {
    "run_end": _run_end, "stage_start": _stage_start, "stage_end": _stage_end,
    "progress": _progress, "step": _step, "validation": _validation, "warning": _warning,
    "forecast": _forecast,
}  # fmt: skip
