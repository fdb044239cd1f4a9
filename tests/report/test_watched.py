"""What a run is doing is told from its events alone, whatever became of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.report.live import SILENT, Live, Tail, advanced, conclusion, open_log, plain, smoothed
from tutelage.report.watch import live_page
from tutelage.store.errors import ConfigError

Event = dict[str, Any]


def begun(**more: Any) -> list[Event]:
    return [
        {"event": "run_start", "time": 1000.0, "recipe": "tiny", "stages": ["corpus", "base", "evaluate"],
         "forecast": {"base": {"seconds": [60, 100, 150]}, "evaluate": {"seconds": [10, 20, 30]}}, **more},
        {"event": "stage_start", "time": 1000.0, "stage": "corpus"},
        {"event": "stage_end", "time": 1004.0, "stage": "corpus", "status": "ran", "seconds": 4.0,
         "peak_memory_mb": 300},
        {"event": "stage_start", "time": 1004.0, "stage": "base"},
    ]  # fmt: skip


def steps(first: int, last: int, begin: float = 1005.0, pace: float = 0.5) -> list[Event]:
    return [
        {"event": "step", "time": begin + pace * (number - first), "stage": "base", "step": number, "total": 100,
         "loss": 5.0 - 0.02 * number, "lr": 1e-3, "tokens_per_second": 4000}
        for number in range(first, last + 1)
    ]  # fmt: skip


def test_a_running_run_tells_its_pace_its_loss_and_what_waits() -> None:
    live = advanced(Live(), [*begun(), *steps(1, 40)])
    assert live.condition(live.last + 1) == "running" and live.stage == "base"  # type: ignore[operator]
    assert live.seconds_left() == pytest.approx(30.0) and live.seconds_ahead() == 20.0
    told = plain(live, live.last + 1)  # type: ignore[operator]
    assert told["figures"]["loss"] == pytest.approx(4.2) and told["done"] == 40 and told["total"] == 100
    assert [one["status"] for one in told["stages"]] == ["ran", "running", "waiting"]
    assert told["memory_bytes"] == 300 * 2**20


def test_a_dead_run_is_told_from_one_that_is_slow() -> None:
    live = advanced(Live(), [*begun(), *steps(1, 5)])
    assert live.last is not None
    assert live.condition(live.last + SILENT - 1) == "running"
    assert live.condition(live.last + SILENT + 1) == "silent" and "dead or stopped" in conclusion(live, live.last + 400)
    slow = advanced(Live(), [*begun(), *steps(1, 5, pace=30.0)])
    assert slow.last is not None and slow.condition(slow.last + 200) == "running"  # such gaps were there before


@pytest.mark.parametrize("status", ["done", "failed", "interrupted"])
def test_how_a_run_ended_is_said(status: str) -> None:
    live = advanced(Live(), [*begun(), {"event": "run_end", "time": 1100.0, "status": status}])
    assert live.condition(1e9) == status and live.seconds_left() is None
    assert conclusion(live, 1160.0).split()[0].lower() in (status, "finished", "interrupted", "failed")


def test_a_resumed_run_tells_the_later_record_of_a_step() -> None:
    events = [*begun(), *steps(1, 30), *begun(), *steps(21, 25, 2000.0)]
    live = advanced(Live(), events)
    assert [step for step, _ in live.curve.losses] == [21, 22, 23, 24, 25]
    within = advanced(Live(), [*begun(), *steps(1, 30), *steps(21, 25, 2000.0)])
    assert [step for step, _ in within.curve.losses] == list(range(1, 26)) and within.seconds_left() == pytest.approx(
        37.5
    )


def test_warnings_are_kept_once_and_validations_are_read() -> None:
    warned = {"event": "warning", "time": 1010.0, "stage": "base", "message": "loss <b>spike</b>"}
    held = {"event": "validation", "time": 1011.0, "stage": "base", "step": 5, "loss": 4.5}
    live = advanced(Live(), [*begun(), *steps(1, 5), warned, warned, held])
    assert live.warnings == ["loss <b>spike</b>"] and live.curve.validations == [(5, 4.5)]


def test_the_page_refreshes_itself_while_the_run_goes_on_and_escapes_what_it_shows() -> None:
    live = advanced(Live(), [*begun(), *steps(1, 9), {"event": "warning", "time": 1010.0, "message": "<script>x"}])
    assert live.last is not None
    page = live_page(live, live.last)
    assert 'http-equiv="refresh"' in page and "&lt;script&gt;x" in page and "<script" not in page and "<svg" in page
    ended = advanced(live, [{"event": "run_end", "time": 1200.0, "status": "done"}])
    assert 'http-equiv="refresh"' not in live_page(ended, 1201.0)


def test_what_is_over_is_not_shown_as_going_on() -> None:
    progress = {"event": "progress", "time": 1010.0, "stage": "base", "what": "fits", "done": 4, "total": 4}
    live = advanced(Live(), [*begun(), progress])
    assert live.last is not None and "4 of 4" in live_page(live, live.last)
    stop = {"event": "stage_end", "time": 1012.0, "stage": "base", "status": "ran", "seconds": 8.0}
    between = live_page(advanced(live, [stop]), 1012.0)
    assert "4 of 4" not in between and ">Now<" in between
    ended = live_page(advanced(live, [{"event": "run_end", "time": 1013.0, "status": "done"}]), 1013.0)
    assert ">Now<" not in ended and ">Stages<" in ended


def test_the_tail_reads_whole_lines_once_and_counts_damaged_ones(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_text('{"event": "note"}\nnot json\n[3]\n{"event": "st')
    tail = Tail(log)
    assert tail.new() == [{"event": "note"}] and tail.damaged == 2 and tail.new() == []
    with log.open("a") as file:
        file.write('ep"}\n')
    assert tail.new() == [{"event": "step"}]
    log.write_text(json.dumps({"event": "again"}) + "\n")
    assert tail.new() == [{"event": "again"}]  # the file was begun anew


def test_a_folder_without_events_is_refused_and_an_empty_log_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no events\.jsonl"):
        open_log(tmp_path)
    assert "No run has started" in conclusion(Live(), 0.0)


def test_a_long_curve_is_shown_in_parts() -> None:
    points = [(float(at), float(at % 2)) for at in range(1000)]
    assert len(smoothed(points, 50)) == 50 and smoothed(points, 50)[0] == pytest.approx(0.5)
    assert smoothed(points[:3], 50) == [0.0, 1.0, 0.0]
