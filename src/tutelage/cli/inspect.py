"""Verbs that look at what there is: report, lineage, version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tutelage.cli.options import RUNS, Json, Out, find_run, print_json


def register(app: typer.Typer) -> None:
    for verb in (report, lineage, version):
        app.command()(verb)


def report(
    run: Annotated[Path | None, typer.Argument(help="Run folder, e.g. runs/quickstart; default: the last run.")] = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Write the report of a run again: one HTML file that needs no network.

    Example: `tutelage report runs/quickstart`
    """
    from tutelage.report.write import write_report

    path = write_report(find_run(run, out))
    if as_json:
        print_json({"report": str(path)})
    else:
        print(path)


def lineage(
    path: Annotated[Path | None, typer.Argument(help="Artifact, model or run; default: the last run.")] = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Walk from an artifact back to the documents it was made of.

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


def version() -> None:
    """Print the version."""
    from tutelage import __version__

    print(__version__)
