"""`tutelage corpus`: make one, look at what was kept and removed, compare two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutelage.cli.life import run_stage
from tutelage.cli.options import RUNS, Json, Out, OwnText, RecipeFile, Sets, find_run, find_stage, print_json
from tutelage.store.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

corpus = typer.Typer(name="corpus")
CORPUS = "A run, or the folder of a corpus."


def register(app: typer.Typer) -> None:
    corpus.callback(invoke_without_command=True)(make)
    corpus.command()(inspect)
    corpus.command()(compare)
    app.add_typer(corpus)


def make(
    context: typer.Context,
    source: OwnText = None,
    recipe: RecipeFile = None,
    sets: Sets = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Documents in, selected documents out: clean, select by rules, deduplicate, split; with a data card.

    Example: `tutelage corpus --source my_texts/`, then `tutelage corpus inspect`
    """
    if context.invoked_subcommand is not None:
        return
    from tutelage.recipe.config import setting

    given = [] if source is None else [setting("corpus.source", source)]
    run_stage("corpus", recipe, given + (sets or []), out, as_json)


def inspect(
    place: Annotated[Path | None, typer.Argument(metavar="[CORPUS]", help=f"{CORPUS} Default: the last run.")] = None,
    rule: Annotated[
        str | None, typer.Option(help='Show what a rule or step took out, e.g. `--rule "near duplicate"`.')
    ] = None,
    side: Annotated[str | None, typer.Option(help="Show documents that were kept: `train` or `heldout`.")] = None,
    containing: Annotated[str, typer.Option(help="Of these, only those that contain this text.")] = "",
    count: Annotated[int, typer.Option("-n", min=1, help="How many to show.")] = 5,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """What each rule removed, and the documents themselves, removed and kept.

    Example: `tutelage corpus inspect --rule "exact duplicate" -n 3`
    """
    from rich.console import Console

    from tutelage.corpus import look

    folder = find_corpus(place, out)
    if rule is None and side is None and not containing:
        rows = look.removals(folder)
        print_json({"corpus": str(folder), "removed": rows}) if as_json else _removals(Console(), rows)
        return
    found = (
        look.removed(folder, rule, count) if rule is not None else look.kept(folder, side or "train", count, containing)
    )
    print_json(found) if as_json else _documents(Console(), found)


def compare(
    one: Annotated[Path, typer.Argument(metavar="A", help=CORPUS)],
    other: Annotated[Path, typer.Argument(metavar="B", help=CORPUS)],
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """What two corpora have in common and what each rule removed from them.

    Example: `tutelage corpus compare runs/with-rules runs/without`
    """
    from rich.console import Console

    from tutelage.corpus.look import compared

    found = compared(find_corpus(one, out), find_corpus(other, out))
    print_json(found) if as_json else _compared(Console(), found)


def find_corpus(place: Path | None, root: Path) -> Path:
    """The folder of a corpus: itself, or that of a run. Raises InputError."""
    if place is not None and (place / "card.json").is_file():
        return place
    run = find_run(place, root)
    folder = find_stage(run, "corpus")
    if folder is None:
        raise InputError(f"{run} has no corpus", hint="tutelage corpus makes one")
    return folder


def _removals(console: Console, rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name, side in (
        ("step", "left"),
        ("rule", "left"),
        ("documents", "right"),
        ("pieces", "right"),
        ("bytes", "right"),
    ):
        table.add_column(name, justify="right" if side == "right" else "left")
    for row in rows:
        counts = [f"{row[what]:,}" if row[what] else "" for what in ("documents", "pieces", "bytes")]
        table.add_row(escape(row["step"]), escape(row["reason"]), *counts)
    console.print(table)
    console.print('Show some: tutelage corpus inspect --rule "RULE", or --side train', style="dim")


def _documents(console: Console, found: list[dict[str, Any]]) -> None:
    for row in found:
        title = " · ".join(str(row[key]) for key in ("reason", "id", "name", "source", "label") if row.get(key))
        console.rule(title, align="left", style="dim")
        console.print(row["text"], markup=False, highlight=False)
        if row.get("kept_text"):
            console.print(f"kept instead: {row.get('kept_name') or row['kept_id']}", style="bold", markup=False)
            console.print(row["kept_text"], markup=False, highlight=False, style="dim")
    if not found:
        console.print("None.")


def _compared(console: Console, found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", "A", "B"):
        table.add_column(name, justify="right" if name else "left")
    for name in ("documents", "bytes", "heldout", "only"):
        table.add_row(name, *(f"{value:,}" for value in found[name]))
    for row in found["removed"]:
        for what in ("documents", "pieces"):
            if any(row[what]) and row[what][0] != row[what][1]:
                unit = "" if what == "documents" else " (pieces)"
                table.add_row(escape(f"{row['step']}: {row['reason']}{unit}"), *(f"−{value:,}" for value in row[what]))
    for name, values in found["diversity"].items():
        table.add_row(name, *(str(value) for value in values))
    console.print(table)
    moved = found["heldout_in_one_trained_on_in_the_other"]
    console.print(
        f"{found['same']:,} documents are the same, {found['changed']:,} have another text. Held out in A and trained "
        f"on in B: {moved[0]:,}; held out in B and trained on in A: {moved[1]:,}.", highlight=False, soft_wrap=True,
    )  # fmt: skip
