"""Run a question of `tutelage ablate`, show the findings, and exit with their code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tutelage.cli.options import print_json

if TYPE_CHECKING:
    from rich.console import Console

    from tutelage.ablation.bench import Question

UNBOUND = 240  # columns without a terminal


def run_question(question: Question, out: Path, as_json: bool, beside: dict[str, Any] | None = None) -> None:
    """Run the question, show the findings, and exit with their code. `beside`: also added to the JSON and to
    the page."""
    found = answered(question, out, as_json, beside)
    if as_json:
        print_json(found)
    raise typer.Exit(found["code"])


def answered(question: Question, out: Path, as_json: bool, beside: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run the question, and show the findings unless JSON was asked for. Returns `result.plain` and where it was
    written."""
    from tutelage.ablation.bench import ask
    from tutelage.ablation.judge import Noise
    from tutelage.ablation.result import noise_lines
    from tutelage.ablation.write import write_findings

    console, say, listen = voices(as_json)

    def on_noise(noise: Noise, effect: float, tried: int, measure: str) -> None:
        for line in noise_lines(noise, effect, tried, measure):
            say(line, "bold")

    say(
        f"{len(question.arms)} arms, up to {question.seeds} seeds each, equal {question.match}; measured: the model of "
        f"{question.target}."
    )
    found = ask(question, out, say, on_noise, (listen,))
    say("")
    written = write_findings(found, beside)
    if not as_json:
        show(console, written.plain)
        console.print(f"{written.page}", highlight=False, soft_wrap=True)
    return {**written.plain, "page": str(written.page), "folder": str(found.folder)}


def voices(as_json: bool) -> tuple[Console, Callable[..., None], Callable[[dict[str, Any]], None]]:
    """The console for results, a function that prints a line above the meter, and the listener to the runs' events."""
    from rich.console import Console

    from tutelage.cli.meter import Meter

    console = Console(stderr=as_json)
    if not console.is_terminal:  # a file or a pipe has no width, so no word needs breaking
        console.width = max(console.width, UNBOUND)
    meter = Meter(console, quiet=not console.is_terminal)
    warned: set[str] = set()

    def say(line: str, style: str = "") -> None:
        meter.clear()
        console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event.get("total"):
            meter(f"{event.get('stage', '')}: training", event["step"], event["total"], "steps")
        elif event["event"] == "progress":
            meter(event["what"], event["done"], event["total"], event["unit"])
        elif event["event"] == "warning" and event["message"] not in warned:
            warned.add(event["message"])
            say(f"warning: {event['message']}", "yellow")

    return console, say, listen


def show(console: Console, found: dict[str, Any]) -> None:
    """The noise floor again with all seeds, the table, what the intervals cover, and the verdict last."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("arm", "seeds", found["measure"], "difference", "p", "verdict"):
        words = name in ("arm", "verdict")
        longest = len("distinguishable") if name == "verdict" else None  # no word is broken
        table.add_column(
            name, justify="left" if words else "right", no_wrap=not words, overflow="fold", min_width=longest
        )
    for arm in found["arms"]:
        table.add_row(*_cells(arm))
    console.print()
    console.print(table, highlight=False, markup=False)
    if found["grid"]:
        _show_grid(console, found)
    if found["items_left_out"]:
        console.print(
            f"left out: {found['items_left_out']} held-out items that not every arm holds out", highlight=False
        )
    size = f", {found['heldout_bytes']:,} bytes" if found["heldout_bytes"] else ""
    said = f"{found['units']} {found['unit']}{size} held out. {found['covers']}"
    console.print(said, style="dim", highlight=False, markup=False, soft_wrap=True)
    for arm in found["arms"]:
        if arm.get("per"):
            said = "; ".join(_per(cost, one) for cost, one in arm["per"].items())
            console.print(f"{arm['arm']}: {said}", highlight=False, markup=False, soft_wrap=True)
    if found["busy"]:
        console.print(
            f"warning: {found['busy']}; verdicts per second are uncertain",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )
    console.print(found["overall"], style="bold", highlight=False, markup=False, soft_wrap=True)


def _show_grid(console: Console, found: dict[str, Any]) -> None:
    """Two varied keys, one down and one across."""
    from rich.table import Table

    from tutelage.ablation.grid import cells

    grid = found["grid"]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(f"{grid['down']} \\ {grid['across']}", overflow="fold")
    for value in grid["across_values"]:
        table.add_column(value, no_wrap=True)
    for value, row in zip(grid["down_values"], cells(found), strict=True):
        table.add_row(value, *row)
    console.print()
    console.print(table, highlight=False, markup=False)


def _cells(arm: dict[str, Any]) -> list[str]:
    value = "" if arm["mean"] is None else f"{arm['mean']:.4f}"
    if arm.get("difference") is None:
        return [arm["arm"], str(arm["seeds"]), value, "", "", arm["outcome"]]
    bounds = "" if arm["low"] is None else f" [{arm['low']:+.4f}, {arm['high']:+.4f}]"
    p = f"{arm['p_adjusted']:.3f}" if arm["p_adjusted"] >= 0.001 else "< 0.001"
    return [arm["arm"], str(arm["seeds"]), value, f"{arm['difference']:+.4f}{bounds}", p, arm["outcome"]]


def _per(cost: str, one: dict[str, Any]) -> str:
    why = f", {one['why']}" if one["outcome"] == "open" else ""
    return f"per {cost} {one['outcome']} ({one['ratio']:.2f}x{why})"
