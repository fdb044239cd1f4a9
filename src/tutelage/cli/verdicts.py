"""What the command line finally says about a finetuned model: whether it learned anything, its figures, its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.panel import Panel
from rich.table import Table

from tutelage.recipe.record import Run

SQUEEZED = 1.1  # a table somewhat too wide for the terminal still reads well with a few cells in two lines


def glance(console: Console, run: Run) -> None:
    """The report's first table: every main figure, its interval, the strongest baseline, the verdict."""
    from tutelage.report import story
    from tutelage.report.collect import collect

    _panel(console, story.glance(collect(run.path)), "Held-out figures")


def _panel(console: Console, block: dict[str, Any], title: str, remarks: bool = False) -> None:
    """A table of the report, with the remarks below its cells if wanted; nothing where it has no rows."""
    if not block["rows"]:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, numeric in zip(block["columns"], block["numeric"], strict=True):
        table.add_column(name, justify="right" if numeric else "left", header_style="dim")
    for row in block["rows"]:
        cells = [cell if isinstance(cell, dict) else {"text": cell} for cell in row]
        below = [f"\n[dim]{escape(cell['sub'])}[/]" if remarks and cell.get("sub") else "" for cell in cells]
        table.add_row(*(escape(cell["text"]) + more for cell, more in zip(cells, below, strict=True)))
    wide = Measurement.get(console, console.options.update(max_width=1000), table).maximum <= SQUEEZED * console.width
    body = table if wide else "\n".join(_record(block["columns"], row) for row in block["rows"])
    console.print(Panel(body, title=title, title_align="left", expand=False, border_style="dim"))


def _record(columns: Sequence[str], row: Sequence[Any]) -> str:
    """A row as separate lines, for a terminal too narrow for the table: its name, below it the cells with their
    columns."""
    texts = [cell["text"] if isinstance(cell, dict) else cell for cell in row]
    told = [
        f"[dim]{escape(name)}[/] {escape(text)}" for name, text in zip(columns[1:], texts[1:], strict=True)
        if text not in ("", "–")
    ]  # fmt: skip
    return f"[bold]{escape(texts[0])}[/]\n  {' · '.join(told)}"


LEARNED = {"learned": "[bold green]✓[/]", "got worse": "[bold red]✗[/]"}


def learned(console: Console, run: Run) -> None:
    """Whether each finetuned model learned anything, and the alarm if that is not a good sign."""
    from tutelage.report.collect import collect
    from tutelage.store.format import sentence

    scores = collect(run.path).scores
    for line in scores.learned:
        mark = "[bold yellow]![/]" if line.get("alarm") else LEARNED.get(str(line.get("found")), "[bold yellow]=[/]")
        console.print(f"{mark} [bold]{escape(sentence(str(line.get('text', ''))))}[/]", highlight=False, soft_wrap=True)
        if alarm := line.get("alarm"):
            console.print(f"  [yellow]warning[/] {escape(str(alarm))}.", highlight=False, soft_wrap=True)


def endings(console: Console, run: Run, names: Sequence[str], last: bool = False) -> None:
    """How many answers loop and how many never end; `last`: only for the last of these models, and those before it."""
    from tutelage.report.collect import collect
    from tutelage.store import sections

    stages = collect(run.path).stages
    found = {name: block for name in names if name in stages and (block := sections.endings(stages[name])) is not None}
    for name, block in list(found.items())[-1 if last else 0 :]:
        _panel(console, {**block, "columns": ["", *block["columns"][1:]]}, f"Do the answers of {name} end?", True)
