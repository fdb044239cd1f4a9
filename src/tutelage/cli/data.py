"""Verbs that analyse a file of rows: data more, data doubtful."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutelage.cli.options import Json, notes, print_json

if TYPE_CHECKING:
    from rich.console import Console

data = typer.Typer(name="data", help="Analyse a file of rows: is more data needed, and which rows are doubtful?")
File = Annotated[
    Path,
    typer.Argument(help="Your own rows: .csv, .tsv, .json, .jsonl or .parquet: labelled texts, answers, or texts."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="If columns have other names: `--column text=body --column label=stars`."),
]


def register(app: typer.Typer) -> None:
    data.command()(more)
    data.command()(doubtful)
    app.add_typer(data)


def more(file: File, column: Columns = None, as_json: Json = False) -> None:
    """How much more data is needed? A learning curve on shares of the rows, and the expected gain by two, four and
    ten times as many, with intervals. Trains only baselines; seconds to a minute.

    Example: `tutelage data more reviews.csv --column text=body --column label=stars`
    """
    from rich.console import Console

    from tutelage.guidance.rows.more import more_data
    from tutelage.guidance.rows.reading import read_rows
    from tutelage.recipe.one_step import parse_columns

    found = more_data(read_rows(file.expanduser(), parse_columns(column or [])), notes())
    print_json(found) if as_json else _curve(Console(), found)


def doubtful(
    file: File,
    column: Columns = None,
    most: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 30,
    to: Annotated[
        Path | None, typer.Option("--to", help="Write all doubtful rows here, e.g. `--to doubtful.jsonl`.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="A model that reads labelled texts as well, e.g. `smollm2`: it takes minutes."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Which rows are harmful? Rows ranked by how likely they are wrong, duplicate or off-topic, with line and reason;
    also answers that break off, refuse or are in another language, and swapped pairs.

    Labels and answers are doubtful if a model fitted on the other rows finds them unlikely. Check them from the top;
    nothing is removed. The precision is measured on the file itself: faults are planted in a tenth of its rows and
    searched for.

    Example: `tutelage data doubtful reviews.csv --most 50`
    """
    from rich.console import Console

    from tutelage.guidance.rows.check import lines as check_lines
    from tutelage.guidance.rows.doubtful import LEAST, counted, doubtful_rows
    from tutelage.guidance.rows.reading import read_rows
    from tutelage.recipe.one_step import parse_columns
    from tutelage.store.jsonl import write_json_lines

    found = read_rows(file.expanduser(), parse_columns(column or []))
    lm = None
    if model is not None:
        from tutelage.loading import load

        lm = load(model, log=notes())
    looked = doubtful_rows(found, notes(), lm)
    doubts = looked.rows
    if to is not None:
        write_json_lines(to, (one.plain() for one in doubts if one.doubt >= LEAST))
    account = {
        "file": found.file, "kind": found.kind, "rows": len(found.rows), "dropped": found.dropped,
        "in_doubt": counted(doubts), "most": [one.plain() for one in doubts[:most]],
        "check": [one.plain() for one in looked.checks],
        "said": check_lines(looked.checks, found.kind, lm is not None),
    }  # fmt: skip
    print_json(account) if as_json else _doubts(Console(), account, found.unit)


def _curve(console: Console, found: dict[str, Any]) -> None:
    from rich.table import Table

    left_out = f", {found['doubled']:,} duplicates left out" if found["doubled"] else ""
    console.print(f"{found['file']}: {found['rows']:,} rows ({found['kind']}){left_out}", highlight=False, markup=False)
    _dropped(console, found)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("training rows", found["measure"], ""):
        table.add_column(name, justify="right" if name else "left")
    for point in found["points"]:
        table.add_row(f"{point['rows']:,}", f"{point['value']:g}", "measured")
    for promise in found["promises"]:
        bounds = "" if promise["low"] is None else f" [{promise['low']:+.4g}, {promise['high']:+.4g}]"
        table.add_row(f"{promise['rows']:,}", f"{promise['change']:+.4g}{bounds}", "predicted change")
    console.print(table, highlight=False, markup=False)
    console.print(
        f"{found['text'][:1].upper()}{found['text'][1:]}.", style="bold", highlight=False, markup=False, soft_wrap=True
    )


def _doubts(console: Console, found: dict[str, Any], unit: str) -> None:
    from rich.table import Table

    total = sum(found["in_doubt"].values())
    reasons = "".join(f", {count} {why}" for why, count in found["in_doubt"].items())
    console.print(
        f"{found['file']}: {found['rows']:,} rows ({found['kind']}), {total} doubtful{reasons}",
        highlight=False, markup=False,
    )  # fmt: skip
    _dropped(console, found)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in (unit, "doubt", "why", "row"):
        table.add_column(name, justify="right" if name in (unit, "doubt") else "left", overflow="fold")
    for one in found["most"]:
        why = f"{one['why']} ({one['detail']})" if one["detail"] else one["why"]
        row = f"{_short(one['text'])} → {_short(one['answer'], 30)}" if one["answer"] else _short(one["text"])
        table.add_row(str(one["line"]), f"{one['doubt']:.2f}", why, row)
    console.print(table, highlight=False, markup=False)
    for line in found["said"]:
        console.print(line, style="bold", highlight=False, markup=False, soft_wrap=True)


def _dropped(console: Console, found: dict[str, Any]) -> None:
    for reason, count in found["dropped"].items():
        console.print(f"{count:,} dropped: {reason}", style="yellow", highlight=False, markup=False)


def _short(text: str, most: int = 70) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
