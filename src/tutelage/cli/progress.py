"""Progress of a run, from its events only: live on a terminal, sparse plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from tutelage.cli.show import MARKS, headline, seconds, span
from tutelage.guidance.forecast import together
from tutelage.store.stage import Forecast

PLAIN_INTERVAL = 5.0  # seconds between two plain lines of one stage
CEILINGS = {"mfu": "what the GPU's data sheet says", "gemm_share": "what matrix products reach here"}
GROWTH = 1 / 30  # of the time left at the most, for each second, that a slower pace may add
OVERRUN = 0.15  # of the time that a stage has taken, where it takes longer than it was expected to
FIGURES = ("loss", "bits_per_byte", "accuracy", "reward_accuracy", "margin", "reward", "zero_variance", "entropy")


class Progress:
    """A listener on the event log. Use as a context; call with each event."""

    def __init__(self, console: Console, stages: list[str], forecasts: Mapping[str, Forecast]) -> None:
        self.console, self.stages = console, stages
        self.forecasts = {name: one for name, one in forecasts.items() if one.seconds is not None}
        self._said: tuple[float, float, float] | None = None  # when, and the range that was said
        self.stage, self.began, self.last_line = "", time.monotonic(), 0.0
        self.what, self.done, self.total, self.figures = "", 0.0, 0.0, ""
        self.work_began, self.first_done = 0.0, 0.0
        self.live = Live(self, console=console, transient=True, refresh_per_second=4) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "stage_start":
            self.stage, self.began, self.what, self.figures = event["stage"], time.monotonic(), "", ""
            self.done = self.total = 0.0
        elif kind == "stage_end":
            self._stage_end(event)
        elif kind == "progress":
            self._advance(event["what"], event["done"], event["total"])
            self.figures = event.get("unit", "")
            self._plain_line()
        elif kind == "step":
            self._advance("training", event["step"], event["total"])
            shown = [f"{name.replace('_', ' ')} {event[name]:.3f}" for name in FIGURES
                     if isinstance(event.get(name), float)]  # fmt: skip
            self.figures = "  ".join([*shown, f"{event['tokens_per_second']:,} tokens/s"])
            self._plain_line()
        elif kind == "forecast":
            share = next((f", {event[name]:.0%} of {what}" for name, what in CEILINGS.items() if name in event), "")
            self.console.print(
                f"  [dim]note[/] training takes about {seconds(event['seconds'])} and {event['memory_mb']:,} MiB "
                f"({event['tokens_per_second']:,} tokens/s{share})",
                highlight=False, soft_wrap=True,
            )  # fmt: skip
        elif kind in ("note", "warning"):
            style = "[yellow]warning[/] " if kind == "warning" else "[dim]note[/] "
            self.console.print(f"  {style}{escape(event['message'])}", highlight=False, soft_wrap=True)

    def _advance(self, what: str, done: float, total: float) -> None:
        if what != self.what:
            self.what, self.work_began, self.first_done = what, time.monotonic(), done
        self.done, self.total = done, total

    def _left_in_work(self) -> float | None:
        """Seconds left of the current piece of work, by its own pace."""
        elapsed, made = time.monotonic() - self.work_began, self.done - self.first_done
        if made <= 0 or elapsed < 1 or not self.total:
            return None
        return elapsed * (self.total - self.done) / made

    def _left_in_run(self) -> tuple[float, float]:
        """Seconds left at the least and at the most: coming stages by their forecast, the current stage increasingly
        by its own pace. It never jumps up: the lower end grows no faster than the clock, the upper by at most half per
        update, so under load the range widens.
        """
        now = time.monotonic()
        ahead = [self.forecasts[name] for name in self.stages[self._index() + 1 :] if name in self.forecasts]
        low, high = self._left_in_stage(now)
        low, high = together([Forecast((low + high) / 2, low, high), *ahead])
        if self._said is not None:
            before, least, most = self._said
            passed = now - before
            low = min(low, least + passed)
            high = min(high, max(most + passed, most * min(1.5, 1 + GROWTH * passed)))
        low = min(low, high)
        self._said = (now, low, high)
        return low, high

    def _left_in_stage(self, now: float) -> tuple[float, float]:
        spent = now - self.began
        here = self.forecasts.get(self.stage)
        low, high = 0.0, 0.0
        if here:
            low, high = max(0.0, here.low - spent), max(here.high - spent, OVERRUN * spent)
        own = self._left_in_work()
        if own is not None and self.what == "training":
            known = self.done / self.total
            low, high = low + (own * 0.9 - low) * known, high + (own * 1.15 - high) * known
        return low, high

    def _index(self) -> int:
        return self.stages.index(self.stage) if self.stage in self.stages else 0

    def _stage_end(self, event: dict[str, Any]) -> None:
        status = event.get("status", "")
        mark = MARKS.get(status, "[yellow]•[/]")
        took = "from the cache" if status == "cached" else seconds(event.get("seconds")) if status == "ran" else status
        metrics = event.get("metrics") or {}
        detail = event.get("why") or headline(event.get("kind", event["stage"]), metrics)
        timing = metrics.get("timing") or {}
        if status == "ran" and timing.get("forecast_seconds"):
            detail += f", trained {seconds(timing['seconds'])} (forecast {seconds(timing['forecast_seconds'])})"
        self.console.print(
            f"{mark} [bold]{event['stage']:<10}[/] {took:<14} [dim]{escape(detail or '')}[/]",
            highlight=False,
            soft_wrap=True,
        )
        self.stage = ""

    def _plain_line(self) -> None:
        now = time.monotonic()
        if self.live or now - self.last_line < PLAIN_INTERVAL:
            return
        self.last_line = now
        left = self._left_in_work()
        left_text = f", {seconds(left)} left here" if left is not None else ""
        self.console.print(
            f"  {self.stage}: {self.what} {self.done:,.0f}/{self.total:,.0f} {self.figures}{left_text}, "
            f"{span(*self._left_in_run())} in all",
            highlight=False,
            soft_wrap=True,
        )

    def __rich__(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        if not self.stage:
            return grid
        left = self._left_in_work()
        bar = ProgressBar(total=self.total or None, completed=self.done, width=28, pulse=not self.total)
        grid.add_row(
            f"[cyan]▸[/] [bold]{self.stage:<10}[/]",
            bar,
            f"{self.what} {self.done:,.0f}/{self.total:,.0f}" if self.total else self.what,
            self.figures,
            f"[dim]{seconds(left)} left[/]" if left is not None else "",
        )
        grid.add_row(
            f"  [dim]{self._index() + 1} of {len(self.stages)}[/]", f"[dim]{span(*self._left_in_run())} left in all[/]"
        )
        return grid
