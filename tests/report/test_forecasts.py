"""Forecast and actual stand side by side, and what the planner got wrong is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tutelage.report.collect import Run
from tutelage.report.forecasts import forecast_blocks, forecasts, summary
from tutelage.store.view import Scores, View


def run_of(*views: View) -> Run:
    return Run("tiny", "done", {}, {}, "", [], {view.name: view for view in views}, Scores())


def stage(name: str, forecast: dict[str, Any], seconds: float = 10.0, status: str = "ran", **metrics: Any) -> View:
    return View(name, title=name, status=status, seconds=seconds, forecast=forecast, metrics=metrics)


BASE = stage(
    "base",
    {"seconds": [6.0, 8.0, 12.0], "memory": 1000 * 2**20,
     "metrics": {"heldout_bits_per_byte": [1.4, 1.5, 1.6], "timing.tokens_per_second": [50.0, 100.0, 200.0]}},
    peak_memory_mb=1100, heldout_bits_per_byte=1.7, timing={"tokens_per_second": 90.0},
)  # fmt: skip


def test_each_figure_stands_beside_what_came() -> None:
    found = {one.what: one for one in forecasts(run_of(BASE))}
    assert set(found) == {"time", "memory", "bits per byte", "tokens per second"}
    assert found["time"].held and round(found["time"].off, 3) == 0.25
    assert found["memory"].held is None and round(found["memory"].off, 3) == 0.1
    assert found["bits per byte"].held is False and found["tokens per second"].held


def test_the_summary_counts_what_lies_in_its_range() -> None:
    said = summary(forecasts(run_of(BASE)))
    assert (
        said.startswith("2 of 3 facts lie in the stated range.") and "time 25.0 %" in said and "memory 10.0 %" in said
    )


def test_what_was_not_forecast_or_did_not_come_is_left_out() -> None:
    nothing = [
        stage("corpus", {}),
        stage("skipped", {"seconds": [1, 2, 3]}, status="skipped"),
        stage("odd", {"seconds": ["x"], "memory": None, "metrics": {"a.b": [1, 2, 3], "c": "d"}}),
        stage("zero", {"seconds": [0, 0, 0]}),
    ]
    assert forecasts(run_of(*nothing)) == [] and forecast_blocks(run_of(*nothing)) == []


def test_a_forecast_without_a_width_has_no_range() -> None:
    (one,) = forecasts(run_of(stage("base", {"seconds": [8.0, 8.0, 8.0]})))
    assert one.held is None and one.low is None


def test_memory_has_a_range_and_older_runs_none() -> None:
    told = [870.0 * 2**20, 1000.0 * 2**20, 1150.0 * 2**20]
    (inside,) = forecasts(run_of(stage("base", {"memory": told}, peak_memory_mb=1100)))
    (beyond,) = forecasts(run_of(stage("base", {"memory": told}, peak_memory_mb=1200)))
    (older,) = forecasts(run_of(stage("base", {"memory": told[1]}, peak_memory_mb=1100)))
    assert (inside.held, beyond.held, older.held) == (True, False, None) and inside.off == older.off


def test_the_time_of_a_resumed_stage_is_not_that_of_the_whole() -> None:
    begin, cut = {"event": "stage_start"}, {"event": "stage_end", "status": "interrupted"}
    end, cached = {"event": "stage_end", "status": "ran"}, {"event": "stage_end", "status": "cached"}
    view = stage("base", {"seconds": [6.0, 8.0, 12.0], "memory": 1.0}, peak_memory_mb=1)
    assert [one.what for one in forecasts(run_of(replace(view, events=[begin, cut, begin, end, begin, cached])))] == [
        "memory"
    ]
    for whole in ([begin, end], [begin, cut, begin, end, begin, end, begin, cached]):
        assert [one.what for one in forecasts(run_of(replace(view, events=whole)))] == ["time", "memory"]
