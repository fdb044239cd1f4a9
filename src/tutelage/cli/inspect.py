"""Verbs that inspect existing results: report, lineage, doctor, version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutelage.cli.options import RUNS, Json, Out, find_run, print_json
from tutelage.store.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console


def register(app: typer.Typer) -> None:
    for verb in (report, lineage, doctor, version):
        app.command()(verb)


def report(
    run: Annotated[Path | None, typer.Argument(help="Run folder, e.g. runs/quickstart; default: the last run.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--compare", help="Instead compare two runs on one page, e.g. `--compare runs/before runs/after`."
        ),
    ] = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Rewrite the report of a run, or write a page that compares two: one HTML file that needs no network.

    Example: `tutelage report runs/quickstart`, `tutelage report --compare runs/before runs/after`
    """
    from tutelage.report.against import write_comparison
    from tutelage.report.write import write_report

    if compare is not None and run is not None:
        raise ConfigError("--compare names both runs", hint="tutelage report --compare BEFORE AFTER")
    path = write_comparison(*(find_run(one, out) for one in compare)) if compare else write_report(find_run(run, out))
    if as_json:
        print_json({"report": str(path)})
    else:
        print(path)


def lineage(
    path: Annotated[Path | None, typer.Argument(help="Artifact, model or run; default: the last run.")] = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Trace an artifact back to the documents it was made from.

    Example: `tutelage lineage runs/quickstart`
    """
    from rich.console import Console

    from tutelage.cli import show
    from tutelage.recipe.lineage import lineage as trace

    found = trace(path if path and not (path / "run.json").exists() else find_run(path, out))
    if as_json:
        print_json(found.plain())
    else:
        show.lineage(Console(), found)


def doctor(out: Out = RUNS, as_json: Json = False) -> None:
    """Check this machine in ten seconds: processor, threads, memory, disk, precision, speed, versions, a self-test.

    Exits with 1 if the self-test fails.

    Example: `tutelage doctor`
    """
    from rich.console import Console

    from tutelage.guidance.doctor import examine

    found = examine(out)
    print_json(found) if as_json else _examined(Console(), found)
    if not all(check["passed"] for check in found["self_test"]):
        raise typer.Exit(1)


def _examined(console: Console, found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    gemm = ", ".join(f"{rate:,.0f} GFLOP/s in {name}" for name, rate in found["gemm_gflops"].items())
    rows = {
        "processor": f"{found['processor']}, {found['cpus_usable']} of {found['cpus']} CPUs, "
        f"{found['threads']} threads",
        "GPU": found["gpu"] or "none",
        "load": f"{found['load_per_cpu']:.1f} processes per CPU",
        "memory": f"{found['memory_available_bytes'] / 1e9:.1f} GB free of {found['memory_gb'] * 2**30 / 1e9:.1f} GB",
        "disk": f"{found['disk_free_bytes'] / 1e9:,.0f} GB free, {found['disk_bytes_per_second'] / 1e6:,.0f} MB/s",
        "precision": f"{found['precision']}: {found['precision_why']}",
        "matrix products": gemm,
        "versions": ", ".join(f"{name} {number}" for name, number in found["versions"].items()),
    }
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for name, text in rows.items():
        table.add_row(name, escape(text))
    for check in found["self_test"]:
        mark = "[green]✓[/]" if check["passed"] else "[red]✗[/]"
        table.add_row(f"{mark} {check['name']}", escape(check["said"]))
    console.print(table)
    for problem in found["problems"]:
        console.print(f"[yellow]•[/] {escape(problem)}", highlight=False, soft_wrap=True)
    if not found["problems"]:
        console.print("No problems found.")


def version() -> None:
    """Print the version."""
    from tutelage import __version__

    print(__version__)
