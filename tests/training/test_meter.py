"""Tokens per second, the share of the ceiling and the forecast, on a clock that is set by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tutelage.model.config import ModelConfig
from tutelage.model.describe import forward_flops
from tutelage.store.events import EventLog
from tutelage.training import meter
from tutelage.training.config import TrainingConfig


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(meter.time, "monotonic", lambda: now[0])
    return now


def make(tiny: ModelConfig, steps: int, events: list[dict[str, Any]], processes: int = 1) -> meter.Meter:
    return meter.Meter(
        tiny, 32, TrainingConfig(), steps, torch.device("cpu"), torch.float32, processes,
        EventLog(None, (events.append,)),
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "processes"), [("GEMM", "gemm_share", 1), ("MFU", "mfu", 4)])
def test_a_step_of_known_length_gives_known_figures(
    tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch, clock: list[float], kind: str, name: str, processes: int
) -> None:
    monkeypatch.setattr(meter, "ceiling", lambda device, dtype: (1e9, kind))
    events: list[dict[str, Any]] = []
    one = make(tiny, 60, events, processes)
    for step in range(60):
        clock[0] += 10.0 if step < 3 else 0.5  # the first three compile
        one.step(1000, 59 - step)
    share = 1000 * 60 / 58.5 * 3 * forward_flops(tiny, 32) / (1e9 * processes)
    assert one.speed() == {"tokens_per_second": round(60_000 / 58.5), name: pytest.approx(share, abs=1e-4)}
    (said,) = [event for event in events if event["event"] == "forecast"]
    assert said["seconds"] == pytest.approx(58.5, abs=0.1)  # 30 s, then 57 steps of half a second
    timing = one.timing()
    assert timing["seconds"] == 58.5 and timing["forecast_seconds"] == pytest.approx(58.5, abs=0.1)
    assert timing["ceiling_gflops"] == 1.0
    # Both are of the whole process: what it had at the peak of those steps, and at the end.
    assert said["memory_mb"] == timing["forecast_memory_mb"] <= timing["memory_mb"]
    assert timing["memory_mb"] - timing["forecast_memory_mb"] < 0.1 * timing["memory_mb"]


def test_a_short_run_measures_no_ceiling_and_forecasts_nothing(
    tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    monkeypatch.setattr(meter, "ceiling", lambda device, dtype: pytest.fail("measured"))
    events: list[dict[str, Any]] = []
    one = make(tiny, 5, events)
    for step in range(5):
        clock[0] += 0.1
        one.step(10, 4 - step)
    assert one.speed() == {"tokens_per_second": 100} and events == []
    assert "forecast_seconds" not in one.timing()


def test_before_the_first_steps_memory_is_what_the_process_has_and_what_training_adds(
    tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "memory_mb", lambda: 700)
    one = meter.Meter(tiny, 32, TrainingConfig(batch_rows=512), 5, torch.device("cpu"), torch.float32, 1, EventLog())
    assert one.memory > 700 + 5
    assert one.timing()["forecast_memory_mb"] == one.memory
