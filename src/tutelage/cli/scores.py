"""What `tutelage evaluate --task` prints: scores and what they are worth. Presentation only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tutelage.evaluation.bench.familiar import sentence

_MARKS = {
    "above": "[green]✓[/]",
    "shortcut": "[yellow]![/]",
    "not above chance": "[red]✗[/]",
    "too few items": "[yellow]?[/]",
}


def show_scores(console: Console, summary: dict[str, Any], place: Path) -> None:
    """The scores of all tasks, the verdict on each, and its cautions."""
    model = summary["model"]
    console.print(f"{escape(model['name'])}, {model['precision']}", highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("task", "metric", "score", "95 % interval", "items", "chance", "best without the question"):
        number = column in ("score", "items", "chance")
        table.add_column(column, justify="right" if number else "left", no_wrap=column in ("task", "metric", "score"))
    for name, task in summary["tasks"].items():
        table.add_row(*_row(name, task))
    console.print(table)
    for name, task in summary["tasks"].items():
        _say(console, name, task)
    for name, why in summary.get("left_out", {}).items():
        console.print(f"[yellow]left out[/] {name}: {escape(why)}", highlight=False, soft_wrap=True)
    console.print(f"results in {escape(str(place))}", highlight=False)


def _row(name: str, task: dict[str, Any]) -> list[str]:
    figure = task["metrics"][task["metric"]]
    share = _is_share(task)
    rivals = {key: one["value"] for key, one in task["baselines"].items()}
    best = max(rivals, key=lambda key: rivals[key]) if rivals else ""
    interval = "-"
    if figure["low"] is not None:
        interval = f"{_value(figure['low'], share)} to {_value(figure['high'], share)}"
        if figure["clusters"]:
            interval += f" ({figure['clusters']} clusters)"
    count = f"{task['items']:,}" + (f" of {task['items_in_all']:,}" if task["items_in_all"] > task["items"] else "")
    chance = "" if task["chance"] is None or not share else _value(task["chance"], share)
    label = task["metric"] + (f", {task['shots']} shots" if task["shots"] else "")
    return [name, label, _value(figure["value"], share), interval, count, chance,
            f"{best} {_value(rivals[best], True)}" if best else ""]  # fmt: skip


def _say(console: Console, name: str, task: dict[str, Any]) -> None:
    verdict = task["verdict"]
    mark = _MARKS.get(verdict["outcome"], "[dim]·[/]")
    console.print(f"{mark} {escape(name)}: {escape(verdict['text'] or task['title'])}", highlight=False, soft_wrap=True)
    if found := task.get("contamination"):
        console.print(f"  {escape(_contaminated(task, found))}", highlight=False, soft_wrap=True)
    if found := task.get("familiarity"):
        console.print(f"  {escape(sentence(found))}", highlight=False, soft_wrap=True)
    for note in task["notes"]:
        console.print(f"  [yellow]note[/] {escape(note)}", highlight=False, soft_wrap=True)
    for one in task["published"]:
        if one["metric"] == task["metric"]:
            shown = _value(one["value"], _is_share(task))
            console.print(f"  [dim]published: {escape(one['model'])} {shown} ({escape(one['source'])})[/]",
                          highlight=False, soft_wrap=True)  # fmt: skip
    for caution in task["cautions"]:
        console.print(f"  [dim]{escape(caution)}[/]", highlight=False, soft_wrap=True)


def _contaminated(task: dict[str, Any], found: dict[str, Any]) -> str:
    corpus = f"the corpus ({found['documents']:,} documents, {found['corpus_words']:,} words)"
    short = f"; {found['too_short']:,} are too short to tell" if found["too_short"] else ""
    if not found["items"]:
        return f"no item shares {found['words']} words in a row with {corpus}{short}"
    parts = [
        f"{name} {_value(found[name]['value'], _is_share(task))} (n = {found[name]['n']:,})"
        for name in ("clean", "overlapping")
        if found[name]
    ]
    return f"{found['items']:,} items share {found['words']} words in a row with {corpus}{short}: {', '.join(parts)}"


def _is_share(task: dict[str, Any]) -> bool:
    from tutelage.evaluation.bench.metrics import is_share

    return is_share(task["metric"])


def _value(value: float, share: bool) -> str:
    return f"{100 * value:.1f} %" if share else f"{value:.3f}" if value < 1000 else f"{value:,.0f}"
