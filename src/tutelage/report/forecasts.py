"""The forecasts of a run against the actual figures: how reliable the planner itself is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.report.collect import Run
from tutelage.store import format as f
from tutelage.store.blocks import Block, Cell, table
from tutelage.store.plain import as_dict, as_float
from tutelage.store.view import View

NAMES = {"heldout_bits_per_byte": "bits per byte", "timing.tokens_per_second": "tokens per second"}


@dataclass(frozen=True)
class Forecasted:
    """A figure that was forecast; `fact`: the actual value. low, high: the stated range, if there was one."""

    stage: str
    title: str
    what: str
    middle: float
    fact: float
    low: float | None = None
    high: float | None = None

    @property
    def off(self) -> float:
        """Relative deviation of the fact from the forecast."""
        return self.fact / self.middle - 1

    @property
    def held(self) -> bool | None:
        """Whether the fact is in the stated range; None if none was stated."""
        return None if self.low is None or self.high is None else self.low <= self.fact <= self.high


def forecasts(run: Run) -> list[Forecasted]:
    """All forecasts for finished stages with a known fact, stage by stage."""
    return [one for stage in run.stages.values() if stage.done for one in _of_stage(stage)]


def forecast_blocks(run: Run) -> list[Block | None]:
    """A table of forecasts and facts, with a summary."""
    found = forecasts(run)
    if not found:
        return []
    rows = [_row(one) for one in found]
    return [table(["Stage", "Figure", "Forecast#", "Range#", "Fact#", "Off by#", "In range"], rows, summary(found))]


def summary(found: Sequence[Forecasted]) -> str:
    """The planner's own error: how many facts lie in their range, and the median distance by kind of figure."""
    ranged = [one for one in found if one.held is not None]
    inside = sum(one.held is True for one in ranged)
    kinds = dict.fromkeys(one.what for one in found)
    errors = [
        f"{what} {f.percent(statistics.median(abs(one.off) for one in found if one.what == what))}" for what in kinds
    ]
    said = f"{inside} of {f.plural(len(ranged), 'fact')} lie in the stated range. " if ranged else ""
    return f"{said}Median distance from the forecast: {', '.join(errors)}."


def _of_stage(stage: View) -> list[Forecasted]:
    facts = {"seconds": None if resumed(stage) else stage.seconds, "memory": peak_memory(stage)}
    found = [_compared(stage, what, stage.forecast.get(what), fact) for what, fact in facts.items()]
    for path, expected in as_dict(stage.forecast.get("metrics")).items():
        found.append(_compared(stage, NAMES.get(path, f.words(path)), expected, _at(stage.metrics, path)))
    return [one for one in found if one is not None]


def resumed(stage: View) -> bool:
    """Whether the stage was started more than once before it ended: its time is then only that of the last part."""
    starts, more = 0, False
    for event in stage.events:
        if event.get("event") == "stage_start":
            starts += 1
        elif event.get("event") == "stage_end" and event.get("status") in ("ran", "cached"):
            more = starts > 1 if event["status"] == "ran" else more
            starts = 0
    return more


def _compared(stage: View, what: str, expected: Any, fact: Any) -> Forecasted | None:
    """None if one of the two is missing; a range only if it has a width."""
    numbers = expected if isinstance(expected, list) else [expected, expected, expected]
    if len(numbers) != 3 or not all(map(f.is_number, [*numbers, fact])) or numbers[1] <= 0:
        return None
    low, middle, high = map(float, numbers)
    name = {"seconds": "time"}.get(what, what)
    if low == high:
        return Forecasted(stage.name, stage.title, name, middle, float(fact))
    return Forecasted(stage.name, stage.title, name, middle, float(fact), low, high)


def _at(metrics: dict[str, Any], path: str) -> Any:
    value: Any = metrics
    for key in path.split("."):
        value = as_dict(value).get(key)
    return value


def _row(one: Forecasted) -> list[Cell]:
    def show(value: float | None) -> str:
        shown = {"time": f.duration, "memory": f.size}.get(one.what, f.number)
        return shown(value)

    bounds = f.NONE if one.low is None else f"{show(one.low)} to {show(one.high)}"
    held = {None: f.NONE, True: "yes", False: "no"}[one.held]
    sign = "+" if one.off > 0 else ""
    return [one.title, one.what, show(one.middle), bounds, show(one.fact), f"{sign}{f.percent(one.off)}", held]


def peak_memory(stage: View) -> float | None:
    """Peak memory of the process during the stage, in bytes."""
    megabytes = as_float(stage.metrics.get("peak_memory_mb"))
    return None if megabytes is None else megabytes * 2**20


def seconds(stage: View) -> float | None:
    """The forecast of the stage's time."""
    expected = stage.forecast.get("seconds")
    return as_float(expected[1]) if isinstance(expected, list) and len(expected) == 3 else None
