"""`tutelage compare`: results against results, and the self-test of the statistics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutelage.cli.options import Json, print_json
from tutelage.store.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from tutelage.evaluation.compare.compare import Report, Row


def register(app: typer.Typer) -> None:
    app.command()(compare)


def compare(
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Two or more folders of results; each is compared with the first: from `tutelage evaluate --out`, "
            "runs "
            "with an evaluation, or lm-evaluation-harness folders with sample logs. E.g. `before after`"
        ),
    ] = None,
    self_test: Annotated[
        bool,
        typer.Option(
            "--self-test", help="Compare nothing: check the statistics by simulation, in about half a minute."
        ),
    ] = False,
    every: Annotated[
        bool, typer.Option("--all-metrics", help="Test every metric, not only the one that decides each task.")
    ] = False,
    correction: Annotated[
        str, typer.Option(help="Correction for multiple comparisons: `holm`, `bh` (false discovery rate) or `none`.")
    ] = "holm",
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Confidence level of intervals and tests.")
    ] = 0.95,
    as_json: Json = False,
) -> None:
    """Say which results are better, how certain that is, and how small a difference this comparison could have
    detected.

    Every test is paired, item by item; p-values are corrected for the number of tasks. Results on different data,
    prompts or items are refused.

    Exit codes: 0 nothing is significantly worse than in the first folder, 3 something is (a regression), 4 every
    comparison has too few items (50 to 100 are needed), 1 not comparable, 2 wrong use.

    Example: `tutelage compare results/before results/after`
    """
    if self_test:
        _self_test(as_json)
        return
    from tutelage.evaluation.compare.compare import Settings, compare_results
    from tutelage.evaluation.compare.read import read_results

    if len(results or []) < 2:
        raise ConfigError(
            "two or more folders of results are needed",
            hint="tutelage compare BEFORE AFTER, or tutelage compare --self-test",
        )
    if correction not in ("holm", "bh", "none"):
        raise ConfigError(f"--correction {correction} is unknown", hint="holm, bh or none")
    settings = Settings(confidence, correction, "all" if every else "primary")  # type: ignore[arg-type]
    report = compare_results([read_results(one) for one in results or []], settings)
    if as_json:
        print_json(report.plain())
    else:
        from rich.console import Console

        show(Console(), report)
    raise typer.Exit(report.code)


def show(console: Console, report: Report) -> None:
    """Print the table, omissions, cautions, and the verdict at the end."""
    from rich.table import Table

    many = len({row.metric for row in report.rows if row.task == report.rows[0].task}) > 1
    arms = list(dict.fromkeys((row.a, row.b) for row in report.rows))
    for a, b in arms:
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), title=f"{b} against {a}", title_justify="left")
        for name in ("task", *(("metric",) if many else ()), "n", a, b, "difference", "p", "detectable", ""):
            words = name in ("task", "metric", "")  # these wrap on a narrow terminal, figures never do
            table.add_column(name, justify="left" if words else "right", no_wrap=not words, overflow="fold")
        for row in [*report.rows, *report.averages]:
            if (row.a, row.b) == (a, b):
                cells = [row.task, *((row.metric,) if many else ()), *_cells(row, console.width < WIDE)]
                table.add_row(*cells, style="bold" if row in report.averages else "")
        console.print(table, highlight=False, markup=False)
        console.print()
    for line in report.left_out:
        console.print(f"left out: {line}", highlight=False, markup=False, soft_wrap=True)
    for text, tasks in report.cautioned().items():
        console.print(f"caution: {text} ({', '.join(tasks)})", highlight=False, markup=False, soft_wrap=True)
    console.print(_legend(report), style="dim", highlight=False, markup=False, soft_wrap=True)
    for row in report.rows:
        if row.outcome in ("better", "worse"):
            console.print(f"{row.task}: {row.verdict}.", highlight=False, markup=False, soft_wrap=True)
    console.print(report.overall, style="bold", highlight=False, markup=False, soft_wrap=True)


_MARKS = {"better": "[green]better[/]", "worse": "[red]worse[/]"}


WIDE = 100  # columns of a terminal; below this, an interval goes under its difference


def _cells(row: Row, narrow: bool) -> list[str]:
    points = row.unit == "points"
    digits = 1 if points else 3
    between = "\n" if narrow else " "
    bounds = "" if row.low is None else f"{between}[{row.low:+.{digits}f}, {row.high:+.{digits}f}]"
    count = f"{row.n:,}" if row.clusters is None else f"{row.n:,} in {row.clusters}"
    p = f"{'<= ' if row.p_is_bound else ''}{row.p_adjusted:.3f}" if row.p_adjusted >= 0.001 else "< 0.001"
    least = "" if row.detectable is None else f"{row.detectable:.{digits}f}"
    shown = [f"{value:.{digits}f}" for value in (row.value_a, row.value_b)]
    return [count, *shown, f"{row.difference:+.{digits}f}{bounds}", p, least, row.outcome]


def _legend(report: Report) -> str:
    said = ["Paired, item by item; shares in percentage points."]
    if report.correction != "none" and len(report.rows) > 1:
        name = {"holm": "Holm", "bh": "Benjamini-Hochberg"}[report.correction]
        said.append(f"p is corrected for {len(report.rows)} comparisons ({name}), intervals are not.")
    said.append("detectable: the true difference that would be detected four times in five.")
    return " ".join(said)


def _self_test(as_json: bool) -> None:
    from tutelage.evaluation.selftest import self_test

    found: list[Any] = []
    if not as_json:
        print("Simulated data with known effects, judged by the functions that evaluation uses.")
    for check in self_test():
        found.append(check)
        if not as_json:
            mark = "ok  " if check.passed else "----" if check.passed is None else "FAIL"
            print(f"{mark} {check.text}", flush=True)
    passed = all(check.passed is not False for check in found)
    if as_json:
        print_json({"passed": passed, "checks": [check.plain() for check in found]})
    else:
        judged = [check for check in found if check.passed is not None]
        good = sum(bool(check.passed) for check in judged)
        print(f"{good} of {len(judged)} checks passed; ---- marks known limits, which are reported but not counted.")
    if not passed:
        raise typer.Exit(1)
