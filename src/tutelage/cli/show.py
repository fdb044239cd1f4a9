"""What the command line prints of plans, advice and lineage, and how it writes figures. Presentation only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from tutelage.guidance.forecast import Outlook
from tutelage.recipe.lineage import Ancestor
from tutelage.recipe.plan import Planned
from tutelage.store.format import size
from tutelage.store.stage import Range

MARKS = {"ran": "[green]✓[/]", "cached": "[green]✓[/]", "skipped": "[dim]–[/]", "failed": "[red]✗[/]"}


def seconds(value: float | None) -> str:
    if value is None:
        return ""
    if value < 1:
        return "<1 s"
    if value < 90:
        return f"{value:.0f} s"
    return f"{int(value) // 60} min {int(value) % 60:02d} s"


def number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def headline(kind: str, metrics: dict[str, Any]) -> str:
    """One short line of the main figures of a stage of that kind."""
    from tutelage.store.kinds import spec_of

    spec = spec_of(kind)
    keys = [key for key in (spec.headline if spec else ()) if key in metrics]
    return ", ".join(f"{key.replace('_', ' ')} {number(metrics[key])}" for key in keys)


COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def advice(console: Console, items: Sequence[Any], least: str = "warning") -> None:
    for item in items:
        if item.level in ("error", least) or least == "note":
            said = f"[{COLOURS[item.level]}]{item.level}[/] {escape(item.stage)}: {escape(item.message)}"
            console.print(f"{said} [dim]({escape(item.source)})[/]", highlight=False, soft_wrap=True)
            if item.fix:
                console.print(f"    {escape(item.fix)}", highlight=False, soft_wrap=True)


def plan(console: Console, name: str, planned: Sequence[Planned], outlook: Outlook, items: Sequence[Any]) -> None:
    table = Table(title=f"Plan of {name}", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("stage", "status", "forecast", "memory", "identity", ""):
        table.add_column(column)
    for state in planned:
        one = outlook.forecasts.get(state.stage)
        takes = span(one.low, one.high) if one and one.seconds is not None else ""
        memory = sizes(one.memory_range) if one and one.memory else ""
        table.add_row(state.stage, state.status, takes, memory, (state.identity or "")[:12], escape(state.why))
    console.print(table)
    if outlook.forecasts:
        announce(console, outlook)
    else:
        console.print("Everything is in the cache.")
    expected(console, outlook)
    advice(console, items, least="note")


def expected(console: Console, outlook: Outlook) -> None:
    """The expected bits per byte of each model, if they can be predicted."""
    for name, one in outlook.forecasts.items():
        if told := one.expected.get("heldout_bits_per_byte"):
            low, middle, high = told
            console.print(
                f"Expected of {name}: {middle:.2f} bits per byte of held-out text ({low:.2f} to {high:.2f}).",
                highlight=False,
                soft_wrap=True,
            )


def announce(console: Console, outlook: Outlook) -> None:
    """Time and memory as a range; nothing if nothing runs."""
    if not outlook.forecasts:
        return
    low, high = outlook.total
    later = f"; not yet known: {', '.join(outlook.unknown)}" if outlook.unknown else ""
    memory = f", at most {sizes(outlook.memory_range)} of memory at a time" if outlook.memory else ""
    console.print(f"Total {span(low, high)}{memory}{later}.", highlight=False, soft_wrap=True)


def sizes(told: Range) -> str:
    """A range of bytes in words: `430 to 560 MB`."""
    least, most = size(told[0]), size(told[2])
    return f"{least.removesuffix(least[-3:])} to {most}" if least[-3:] == most[-3:] else f"{least} to {most}"


def span(low: float, high: float) -> str:
    """A range of seconds in words: `6 to 9 min`, `20 to 40 s`."""
    if high < 90:
        least, most = max(1, round(low)), max(1, round(high))
        return f"about {most} s" if least == most else f"{least} to {most} s"
    unit, name = (60, "min") if high < 3 * 3600 else (3600, "h")
    least, most = max(1, round(low / unit)), max(1, round(high / unit))
    return f"about {most} {name}" if least == most else f"{least} to {most} {name}"


def cluster(console: Console, plan: dict[str, Any]) -> None:
    """A plan for many GPUs (`guidance.cluster`)."""
    mesh = ", ".join(f"{name} {size}" for name, size in plan["mesh"].items())
    rows = {
        "mesh": mesh,
        "memory": f"{plan['memory_per_gpu'] / 1e9:.1f} GB per GPU, activation checkpointing on",
        "batch": f"{plan['step_tokens']:,} tokens: {plan['rows_per_gpu']} rows per GPU, {plan['accumulation']} "
        f"microbatch{'es' if plan['accumulation'] > 1 else ''} in a step",
        "step": f"{plan['step_seconds']:.2f} s at 40 % MFU; {plan['steps']:,} steps",
        "traffic": f"{plan['traffic_per_gpu_and_step'] / 1e9:.1f} GB per GPU and step, "
        f"{plan['traffic_share']:.0%} of the step if communication does not overlap with computing",
        "failures": f"one in {plan['hours_between_failures']:,.0f} hours, {plan['failures']:,.1f} in the run",
        "checkpoints": f"{plan['checkpoint_bytes'] / 1e9:,.0f} GB, "
        f"every {seconds(plan['checkpoint_interval_seconds'])}; training waits "
        f"{plan['checkpoint_stall_seconds']:.1f} s, writing takes "
        f"{seconds(plan['checkpoint_write_seconds'])} in the background",
        "lost": f"{plan['lost_share']:.2%} of the time to checkpoints, failures and restarts",
        "total": f"{plan['days']:,.1f} days, {plan['gpu_hours']:,.0f} GPU hours",
    }
    size = f"{plan['parameters'] / 1e9:,.2f}B parameters, {plan['tokens'] / 1e9:,.0f}B tokens"
    title = f"{size}, {plan['gpus']:,} x {plan['gpu']}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for name, text in rows.items():
        table.add_row(name, text)
    console.print(table)
    parallel = f"{{shard: {plan['mesh']['shard']}}}"
    console.print(
        f"Set: pretrain.training.parallel: {parallel}, batch_rows: {plan['step_tokens'] // plan['context']}, "
        f"accumulation: {plan['accumulation']}, activation_checkpointing: true, checkpoint_seconds: "
        f"{plan['checkpoint_interval_seconds']:.0f}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def lineage(console: Console, found: Ancestor) -> None:
    console.print(_branch(found, None))


def _branch(found: Ancestor, tree: Tree | None) -> Tree:
    if found.artifact is None:
        kinds = {"source": "raw text, by content hash", "data": "own data, by content hash"}
        known = kinds.get(found.stage, "[yellow]no longer there[/]")
        label = f"{found.stage} [dim]{found.identity[:12]}[/] ({known})"
    else:
        figures = headline(found.stage, found.artifact.metrics)
        about = " · ".join(filter(None, [found.identity[:12], seconds(found.artifact.manifest["seconds"]), figures]))
        label = f"[bold]{found.stage}[/] [dim]{escape(about)}[/]"
    here = tree.add(label) if tree else Tree(label)
    for ancestor in found.inputs:
        _branch(ancestor, here)
    return here
