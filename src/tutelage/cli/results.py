"""What the command line prints at the end of a run: figures, what was left out, and what to do next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from tutelage.cli.show import headline, number
from tutelage.cli.verdicts import endings, glance, learned
from tutelage.recipe.record import Run
from tutelage.store.format import few_pairs
from tutelage.store.stage import StageSpec


def stage_result(console: Console, run: Run, stage: str) -> None:
    record = run.stage(stage)
    console.print(
        f"{stage}: {escape(record.get('why') or headline(record['kind'], record.get('metrics', {})))}", highlight=False
    )
    if record.get("artifact"):
        console.print(f"in {(run.path / record['artifact']).resolve()}", soft_wrap=True, highlight=False)
    if _spec(record["kind"]).heldout:
        said = (
            "To see whether it learned anything compared with the model before: tutelage evaluate, with the same recipe"
        )
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
    """The end of a run of one method: its figures next to trivial baselines, what they mean, and how to use the
    model."""
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
            said = f"• {count} training texts have a label that looks wrong, the most suspect first: {where.resolve()}"
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
    """The main figures of these models and of everything measured on the same rows, one row each, with costs; then
    the paired comparisons."""
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
        if comparison["a"] in names and wanted:  # a loss is always reported
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
    """Which of the user's rows were not used, repeated next to the figures."""
    found = []
    if dropped := metrics.get("dropped_labels"):
        named = ", ".join(f"{label} ({count} rows)" for label, count in dropped.items())
        found.append(f"labels that are not trained, for lack of rows: {named}")
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
