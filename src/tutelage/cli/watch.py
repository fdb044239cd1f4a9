"""`tutelage watch`: a run in progress, in the terminal or as a page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutelage.cli.options import RUNS, Json, Out, find_log, print_json

if TYPE_CHECKING:
    from tutelage.report.live import Live

INTERVAL = 1.0  # seconds between two updates
LATEST = 3  # warnings shown during a run; more would push the rest off the screen
BARS = "▁▂▃▄▅▆▇█"


def register(app: typer.Typer) -> None:
    app.command()(watch)


def watch(
    run: Annotated[Path | None, typer.Argument(help="Run folder; default: the last run.")] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Also keep RUN/watch.html up to date; the page reloads itself.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Show the state once and exit, even if the run is still going.")
    ] = False,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Watch a run: loss, speed, time left, memory, warnings. Only reads its event log, so it can be started and stopped
    at any time during a run in another terminal. Says which runs are finished, failed, interrupted or dead.

    Example: `tutelage watch runs/quickstart --page`
    """
    from rich.console import Console
    from rich.live import Live as Screen

    from tutelage.report.live import Live, advanced, open_log, plain
    from tutelage.report.watch import NAME, live_page
    from tutelage.store.files import write_atomic

    folder = find_log(run, out)
    log, state, console = open_log(folder), Live(), Console()

    def look() -> Live:
        nonlocal state
        state = advanced(state, log.new())
        if page:
            write_atomic(folder / NAME, live_page(state, time.time()))
        return state

    look()
    if page and not as_json:
        console.print(str(folder / NAME), highlight=False, soft_wrap=True)
    if as_json:
        print_json({**plain(state, time.time()), "damaged_lines": log.damaged})
        return
    if once or not console.is_terminal or state.condition(time.time()) != "running":
        console.print(drawn(state, time.time()))
        return
    with Screen(drawn(state, time.time(), LATEST), console=console, refresh_per_second=4, transient=True) as screen:
        while state.condition(time.time()) in ("running", "silent"):
            time.sleep(INTERVAL)
            screen.update(drawn(look(), time.time(), LATEST))
    console.print(drawn(state, time.time()))


def drawn(live: Live, now: float, latest: int | None = None) -> Any:
    """The state as a terminal shows it. Without `latest` all warnings, last, where a reader ends; with it a line for
    each of the latest, first, because a screen that is too low loses its last lines."""
    from rich.console import Group
    from rich.markup import escape
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from tutelage.cli.show import MARKS, seconds
    from tutelage.report.live import conclusion, smoothed

    head = [Text(live.name, style="bold"), Text(conclusion(live, now), style="dim")]
    lines: list[Any] = []
    stages = Table.grid(padding=(0, 2))
    for one in live.stages.values():
        mark = {"running": "[cyan]▸[/]", "waiting": "[dim]·[/]"}.get(one.status, MARKS.get(one.status, "•"))
        took = seconds(one.seconds) if one.seconds is not None else ""
        ahead = (
            f"[dim]forecast {seconds(one.forecast)}[/]" if one.forecast and one.status in ("waiting", "running") else ""
        )
        stages.add_row(mark, escape(one.name), "" if one.status == "waiting" else one.status, took, ahead)
    if live.what:
        left = live.seconds_left()
        rest = f", {seconds(left)} left" if left is not None else ""
        progress = Table.grid(padding=(0, 1))
        progress.add_row(
            ProgressBar(total=live.total or None, completed=live.done, width=30),
            Text(f"{live.what} {live.done:,.0f} of {live.total:,.0f} {live.unit}{rest}"),
        )
        lines.append(progress)
    if len(live.curve.losses) > 1:
        of = "" if live.stage == live.curve_of else f" of {live.curve_of}"
        lines.append(Text(f"loss{of} {sparkline(smoothed(live.curve.losses, 50))} {live.curve.losses[-1][1]:.3f}"))
    if live.curve.validations:
        lines.append(Text(f"held out {live.curve.validations[-1][1]:.3f} at step {live.curve.validations[-1][0]:,.0f}"))
    if live.figures.get("tokens_per_second"):
        memory = f", memory {live.memory / 2**30:.2f} GiB" if live.memory else ""
        lines.append(Text(f"{live.figures['tokens_per_second']:,} tokens/s{memory}"))
    warnings = warned(live.warnings, latest)
    return Group(*head, stages, *lines, *warnings) if latest is None else Group(*head, *warnings, *lines, stages)


def warned(warnings: list[str], latest: int | None) -> list[Any]:
    """All warnings in full, or the latest truncated to a line each, with the number of earlier ones."""
    from rich.text import Text

    if latest is None:
        return [Text(f"warning: {message}", style="yellow") for message in warnings]
    shown = [
        Text(f"warning: {message}", style="yellow", no_wrap=True, overflow="ellipsis") for message in warnings[-latest:]
    ]
    before = len(warnings) - len(shown)
    return [*shown, *([Text(f"{before} earlier warnings, all shown at the end", style="dim")] if before else [])]


def sparkline(values: list[float]) -> str:
    """The values as bars of eight heights, scaled between the lowest and the highest."""
    low, high = min(values), max(values)
    wide = (high - low) or 1.0
    return "".join(BARS[round((value - low) / wide * (len(BARS) - 1))] for value in values)
