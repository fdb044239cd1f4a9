"""Progress from events alone: sparse lines where nobody watches, a live view where somebody does."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from tutelage.cli import progress as module
from tutelage.cli.progress import Progress
from tutelage.store.stage import Forecast

STAGES = ["corpus", "pretrain", "evaluate"]
FORECAST = {name: Forecast(value, value, value) for name, value in (("corpus", 10.0), ("pretrain", 100.0),
                                                                    ("evaluate", 20.0))}  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def step(number: int, **more: Any) -> dict[str, Any]:
    return {"event": "step", "stage": "pretrain", "step": number, "total": 100, "loss": 2.5, "lr": 0.1,
            "tokens_per_second": 14000, **more}  # fmt: skip


def test_elsewhere_than_on_a_terminal_lines_are_few(clock: Callable[[float], None]) -> None:
    out = io.StringIO()
    with Progress(Console(file=out, width=40), STAGES, FORECAST) as progress:
        progress({"event": "stage_start", "stage": "pretrain"})
        for number in range(1, 101):
            clock(0.5)
            progress(step(number))
        progress({"event": "stage_end", "stage": "pretrain", "status": "ran", "seconds": 50.0,
                  "metrics": {"heldout_bits_per_byte": 1.5}})  # fmt: skip
    lines = out.getvalue().splitlines()
    assert 8 <= sum("tokens/s" in line for line in lines) <= 11  # 50 s of training, a line each 5 s
    assert all(word in lines[3] for word in ("pretrain", "loss 2.500", "14,000 tokens/s", "left here", "in all"))
    assert "✓ pretrain" in lines[-1] and "heldout bits per byte 1.500" in lines[-1]
    assert "\x1b" not in out.getvalue()


def test_time_left_is_the_stages_own_pace_and_the_forecast_of_those_ahead(clock: Callable[[float], None]) -> None:
    progress = Progress(Console(file=io.StringIO()), STAGES, FORECAST)
    progress({"event": "stage_start", "stage": "corpus"})
    clock(4)
    assert progress._left_in_run() == pytest.approx((6 + 100 + 20, 6 + 100 + 20))
    progress({"event": "stage_start", "stage": "pretrain"})
    progress(step(0))
    clock(20)
    progress(step(50))
    assert progress._left_in_work() == pytest.approx(20)
    # Half done: half by the forecast (80 s are left of it), half by the pace (20 s), within the range of each.
    low, high = progress._left_in_run()
    assert low == pytest.approx((80 + 18) / 2 + 20) and high == pytest.approx((80 + 23) / 2 + 20)


def test_a_run_that_goes_on_from_its_checkpoint_is_not_judged_by_the_steps_before(
    clock: Callable[[float], None],
) -> None:
    progress = Progress(Console(file=io.StringIO()), STAGES, FORECAST)
    progress({"event": "stage_start", "stage": "pretrain"})
    progress(step(90))
    clock(10)
    progress(step(95))
    assert progress._left_in_work() == pytest.approx(10)


def test_on_a_terminal_it_is_drawn_live_and_says_what_was_said(clock: Callable[[float], None]) -> None:
    out = io.StringIO()
    with Progress(Console(file=out, force_terminal=True, width=120), STAGES, FORECAST) as progress:
        progress({"event": "stage_start", "stage": "corpus"})
        progress({"event": "stage_end", "stage": "corpus", "status": "cached", "seconds": 0.1, "metrics": {}})
        progress({"event": "warning", "message": "odd [text]"})
        progress({"event": "stage_start", "stage": "pretrain"})
        progress(step(10))
        assert progress.live is not None
        progress.live.refresh()
    shown = out.getvalue()
    for words in ("from the cache", "odd [text]", "2 of 3", "training 10/100", "14,000 tokens/s"):
        assert words in shown, words


@pytest.mark.parametrize(("status", "says"), [("skipped", "no labels"), ("failed", "diverged")])
def test_stages_that_do_not_run_say_why(status: str, says: str) -> None:
    out = io.StringIO()
    progress = Progress(Console(file=out), STAGES, {})
    progress({"event": "stage_start", "stage": "pretrain"})
    progress({"event": "stage_end", "stage": "pretrain", "status": status, "why": says})
    assert status in out.getvalue() and says in out.getvalue()


def test_a_forecast_is_said_and_stands_beside_the_fact(clock: Callable[[float], None]) -> None:
    out = io.StringIO()
    with Progress(Console(file=out, width=200), STAGES, FORECAST) as progress:
        progress({"event": "stage_start", "stage": "pretrain"})
        progress({"event": "forecast", "stage": "pretrain", "seconds": 245.2, "memory_mb": 310,
                  "tokens_per_second": 10873, "gemm_share": 0.427})  # fmt: skip
        progress({"event": "stage_end", "stage": "pretrain", "status": "ran", "seconds": 250.0,
                  "metrics": {"timing": {"seconds": 240.1, "forecast_seconds": 245.2}}})  # fmt: skip
    said = out.getvalue()
    assert (
        "training takes about 4 min 05 s and 310 MiB (10,873 tokens/s, 43% of what matrix products reach here)" in said
    )
    assert "trained 4 min 00 s (forecast 4 min 05 s)" in said


def test_time_left_never_jumps(clock: Callable[[float], None]) -> None:
    """Ten times slower from one moment to the next: what is said grows no faster than the clock."""
    progress = Progress(Console(file=io.StringIO()), STAGES, FORECAST)
    progress({"event": "stage_start", "stage": "pretrain"})
    progress(step(0))
    before = None
    for number in range(1, 60):
        pause = 0.5 if number < 30 else 60.0
        clock(pause)
        progress(step(number))
        low, high = progress._left_in_run()
        if before is not None:
            assert high <= before[1] + pause + 1e-6 and low <= before[0] + pause + 1e-6
        assert low <= high < 24 * 3600
        before = (low, high)
