"""What the command line prints: plans, results, next steps. Presentation only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.tree import Tree

from tutelage.cli.verdicts import endings, glance, learned
from tutelage.guidance.forecast import Outlook
from tutelage.recipe.lineage import Ancestor
from tutelage.recipe.plan import Planned
from tutelage.recipe.run import Run
from tutelage.store.format import few_pairs, size
from tutelage.store.stage import StageSpec

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
        memory = size(one.memory) if one and one.memory else ""
        table.add_row(state.stage, state.status, takes, memory, (state.identity or "")[:12], escape(state.why))
    console.print(table)
    if outlook.forecasts:
        announce(console, outlook)
    else:
        console.print("Everything is in the cache.")
    expected(console, outlook)
    advice(console, items, least="note")


def expected(console: Console, outlook: Outlook) -> None:
    """The bits per byte that are expected of each model, where they can be told."""
    for name, one in outlook.forecasts.items():
        if told := one.expected.get("heldout_bits_per_byte"):
            low, middle, high = told
            console.print(
                f"Expected of {name}: {middle:.2f} bits per byte of held-out text ({low:.2f} to {high:.2f}).",
                highlight=False,
                soft_wrap=True,
            )


def announce(console: Console, outlook: Outlook) -> None:
    """How long it takes and how much memory, as a range; nothing where nothing runs."""
    if not outlook.forecasts:
        return
    low, high = outlook.total
    later = f"; not yet known: {', '.join(outlook.unknown)}" if outlook.unknown else ""
    memory = f", {size(outlook.memory)} of memory" if outlook.memory else ""
    console.print(f"In all {span(low, high)}{memory}{later}.", highlight=False, soft_wrap=True)


def span(low: float, high: float) -> str:
    """A range of seconds as a reader says it: `6 to 9 min`, `20 to 40 s`."""
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
        "memory": f"{plan['memory_per_gpu'] / 1e9:.1f} GB of each GPU, activation checkpointing on",
        "batch": f"{plan['step_tokens']:,} tokens: {plan['rows_per_gpu']} rows on each GPU, {plan['accumulation']} "
        f"microbatch{'es' if plan['accumulation'] > 1 else ''} in a step",
        "step": f"{plan['step_seconds']:.2f} s at 40 % MFU; {plan['steps']:,} steps",
        "traffic": f"{plan['traffic_per_gpu_and_step'] / 1e9:.1f} GB for each GPU and step, "
        f"{plan['traffic_share']:.0%} of the step if communication does not overlap with computing",
        "failures": f"one in {plan['hours_between_failures']:,.0f} hours, {plan['failures']:,.1f} in the run",
        "checkpoints": f"{plan['checkpoint_bytes'] / 1e9:,.0f} GB, "
        f"every {seconds(plan['checkpoint_interval_seconds'])}; training waits "
        f"{plan['checkpoint_stall_seconds']:.1f} s, writing takes "
        f"{seconds(plan['checkpoint_write_seconds'])} beside it",
        "lost": f"{plan['lost_share']:.2%} of the time to checkpoints, failures and restarts",
        "in all": f"{plan['days']:,.1f} days, {plan['gpu_hours']:,.0f} GPU hours",
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


def stage_result(console: Console, run: Run, stage: str) -> None:
    record = run.stage(stage)
    console.print(
        f"{stage}: {escape(record.get('why') or headline(record['kind'], record.get('metrics', {})))}", highlight=False
    )
    if record.get("artifact"):
        console.print(f"in {(run.path / record['artifact']).resolve()}", soft_wrap=True, highlight=False)
    if _spec(record["kind"]).heldout:
        said = "Whether it learned anything, against the model before: tutelage evaluate, with the same recipe"
        console.print(said, soft_wrap=True, highlight=False)


def finish(console: Console, run: Run, report: Path | None, root: Path) -> None:
    """The end of a run: headline figures, where the report is, and what to do next."""
    learned(console, run)
    glance(console, run)
    endings(console, run, [stage["stage"] for stage in run.record["stages"]], last=True)
    option = "" if root == Path("runs") else f" --out {root}"
    if report:
        console.print(f"Report:  {report.resolve()}", soft_wrap=True, highlight=False)
    console.print(f"Chat:    tutelage chat{option}", highlight=False)
    console.print(f"Serve:   tutelage serve{option}", highlight=False)
    console.print(f"Export:  tutelage export my-model{option}", highlight=False)


def steps(console: Console, run: Run, kind: str, report: Path | None, root: Path) -> None:
    """The end of a run of one method: its figures beside trivial rivals, what they mean, and how to use the model."""
    records = [stage for stage in run.record["stages"] if stage["kind"] == kind]
    measured = [stage for stage in run.record["stages"] if stage["kind"] == "evaluate" and stage.get("artifact")]
    if measured:
        found = json.loads((run.path / measured[0]["artifact"] / "evaluation.json").read_text(encoding="utf-8"))
        names = [record["stage"] for record in records]
        learned(console, run)
        _figures_of(console, names, kind, found, measured[0]["metrics"])
        endings(console, run, names)
        for choice in found.get("choices", ()):
            said = choice["text"][:1].upper() + choice["text"][1:]
            console.print(f"[bold]{escape(said)}.[/]", highlight=False, soft_wrap=True)
        for curve in found.get("curves", ()):
            found_at = zip(curve["rows"], curve["accuracy"], strict=True)
            points = ", ".join(f"{rows:,} rows {accuracy:.1f} %" for rows, accuracy in found_at)
            said = f"{curve['text'][:1].upper()}{curve['text'][1:]} ({points})."
            console.print(escape(said), highlight=False, soft_wrap=True)
    else:
        for record in records:
            said = headline(record["kind"], record.get("metrics", {}))
            console.print(f"{record['stage']}: {escape(said)}", highlight=False)
    for line in dict.fromkeys(line for record in records for line in _left_out(record.get("metrics", {}))):
        console.print(f"[yellow]•[/] {escape(line)}", highlight=False, soft_wrap=True)
    for record in records:
        if count := record.get("metrics", {}).get("suspected_labels"):
            where = run.path / record["artifact"] / "data" / "suspected.jsonl"
            said = f"• {count} training texts have a label that looks wrong, the most doubtful first: {where.resolve()}"
            console.print(escape(said), highlight=False, soft_wrap=True)
            break
    model = f"{run.path}"
    if report:
        console.print(f"Report:  {report.resolve()}", soft_wrap=True, highlight=False)
    if records[-1]["makes"] == "classifier":
        console.print(f'Use it:  tutelage classify "a text" -m {model}', highlight=False, soft_wrap=True)
        console.print(f"         tutelage classify texts.txt -m {model}", highlight=False, soft_wrap=True)
    elif records[-1]["makes"] == "reward model":
        place = (run.path / records[-1]["artifact"]).resolve()
        said = f"Use it:  tutelage.load({str(place)!r}).rank(prompt, answers)    (Python; the best answer first)"
        console.print(escape(said), highlight=False, soft_wrap=True)
    else:
        use = f'translate "a text" -m {model}' if kind == "translate" else f"chat -m {model}"
        console.print(f"Use it:  tutelage {use}", highlight=False, soft_wrap=True)
        console.print(f"         tutelage export {run.path.name}.gguf -m {model}", highlight=False, soft_wrap=True)


def _figures_of(
    console: Console, names: Sequence[str], kind: str, found: dict[str, Any], metrics: dict[str, Any]
) -> None:
    """The main figures of these models and of all that was measured on the same rows, a row for each, with what it
    costs; then what the same items say."""
    mine = [figure for figure in found["figures"] if any(row["who"] in names for row in figure["rows"])]
    main = [item.measure for item in _spec(kind).glance if any(item.measure == figure["measure"] for figure in mine)]
    figures = [figure for figure in mine if figure["measure"] in main]
    who = list(dict.fromkeys(row["who"] for figure in figures for row in figure["rows"]))
    megabytes = {name: value for choice in found.get("choices", ()) for name, value in choice["megabytes"].items()}
    milliseconds = metrics.get("timing", {}).get("milliseconds_per_text", {})
    costs = {"MB": megabytes, "ms a text": milliseconds} if megabytes else {}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for column in [*(figure["measure"] for figure in figures), *costs]:
        table.add_column(column, header_style="dim", justify="right" if column in costs else "left")
    for name in sorted(who, key=lambda name: name not in names):
        style = "bold" if name in names else "dim"
        cells = [
            _cell(next((row for row in figure["rows"] if row["who"] == name), None), figure["unit"])
            for figure in figures
        ]
        sizes = [_size(value.get(name)) for value in costs.values()]
        table.add_row(f"[{style}]{escape(name)}[/]", *cells, *(f"[dim]{value}[/]" for value in sizes))
    percent = f"{100 * found['confidence']:g} %"
    console.print(Panel(table, title=f"Held-out figures, with {percent} intervals", title_align="left", expand=False,
                        border_style="dim"))  # fmt: skip
    for comparison in found["comparisons"]:
        measure = comparison["measure"]
        wanted = measure in main[:1] if found.get("choices") else measure in main or comparison["outcome"] == "worse"
        if comparison["a"] in names and wanted:  # what became worse is said, whatever was asked
            said = f"• {comparison['measure']}: {comparison['verdict']}"
            console.print(escape(said), highlight=False, soft_wrap=True)


def _cell(row: dict[str, Any] | None, unit: str) -> str:
    if row is None:
        return ""
    if counted := few_pairs(row["value"], row["n"], unit):
        return counted
    interval = "" if row["low"] is None else f"[{_short(row['low'])}, {_short(row['high'])}]"
    return f"{_short(row['value'])} [dim]{escape(interval)}[/]"


def _size(value: float | None) -> str:
    return "" if not value else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _short(value: float) -> str:
    """Three figures and no zero before the point: .987."""
    return number(value).replace("0.", ".", 1) if 0 <= value < 1 else number(value)


def _left_out(metrics: dict[str, Any]) -> list[str]:
    """What of the user's rows was not used, said once more where the figures are read."""
    found = []
    if dropped := metrics.get("dropped_labels"):
        named = ", ".join(f"{label} ({count} rows)" for label, count in dropped.items())
        found.append(f"labels that are not trained, for want of rows: {named}")
    audit = metrics.get("audit") or {}
    if rows := sum((audit.get("dropped") or {}).values()):
        reasons = "; ".join(f"{reason}: {count}" for reason, count in audit["dropped"].items())
        found.append(f"{rows} of {audit['rows']} rows were dropped: {reasons}")
    if ignored := audit.get("ignored"):
        found.append(f"fields that were not used: {', '.join(ignored)}")
    trained = metrics.get("supervision") or {}
    if too_long := trained.get("too_long"):
        found.append(f"{too_long} of {trained['rows']} training rows were dropped: longer than the context")
    for reason, count in (trained.get("refused") or {}).items():
        found.append(f"{count} of {trained['rows']} training rows were dropped: {reason}")
    return [*found, *audit.get("warnings", ())]


def _spec(kind: str) -> StageSpec:
    from tutelage.store.kinds import spec_of

    spec = spec_of(kind)
    assert spec is not None, kind
    return spec


def lineage(console: Console, found: Ancestor) -> None:
    console.print(_branch(found, None))


def _branch(found: Ancestor, tree: Tree | None) -> Tree:
    if found.artifact is None:
        kinds = {"source": "raw text, by content hash", "data": "own data, by content hash"}
        known = kinds.get(found.stage, "[yellow]not here any more[/]")
        label = f"{found.stage} [dim]{found.identity[:12]}[/] ({known})"
    else:
        figures = headline(found.stage, found.artifact.metrics)
        about = " · ".join(filter(None, [found.identity[:12], seconds(found.artifact.manifest["seconds"]), figures]))
        label = f"[bold]{found.stage}[/] [dim]{escape(about)}[/]"
    here = tree.add(label) if tree else Tree(label)
    for ancestor in found.inputs:
        _branch(ancestor, here)
    return here
