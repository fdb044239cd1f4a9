"""`tutelage advise`: the rules of thumb on a recipe before it runs, or on a run after, and their fixes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutelage.cli.options import RUNS, Json, Out, Sets, print_json
from tutelage.store.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from tutelage.guidance.rules import Advice
    from tutelage.recipe.config import Recipe


def register(app: typer.Typer) -> None:
    app.command()(advise)


def advise(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="RECIPE|RUN", help="Recipe file (YAML), or the folder of a run; default: the quickstart's."
        ),
    ] = None,
    sets: Sets = None,
    fix: Annotated[
        Path | None,
        typer.Option(
            "--fix",
            metavar="FILE",
            help="Write the recipe with every fix to this new file, and show what changes. E.g. `--fix fixed.yaml`",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--rules", help="List all rules of thumb with their sources instead.")] = False,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Check a recipe against rules of thumb: what is unusual, according to which source, and the `--set` that changes
    it.

    For a run, its results are checked too, and the warnings from training are listed. `--fix` applies the fixes of
    warnings and errors repeatedly until none is left; notes are left to you.

    Example: `tutelage advise recipes/quickstart.yaml --set pretrain.training.learning_rate=0.5 --fix fixed.yaml`
    """
    from rich.console import Console

    from tutelage.cli import show
    from tutelage.guidance.rules import every_rule

    if every:
        rules = [{"stage": kind, "rule": rule.id, "says": rule.says, "source": rule.source}
                 for kind, rule in every_rule()]  # fmt: skip
        print_json(rules) if as_json else _rules(Console(), rules)
        return
    from tutelage.cli.ahead import advice_on
    from tutelage.guidance.heard import heard
    from tutelage.recipe.config import Recipe

    if fix is not None and fix.exists():
        raise ConfigError(f"--fix {fix} exists", hint="name a new file; existing files are not overwritten")
    file, root, run = _what(recipe, out)
    data = _data(file, sets or [])
    found = advice_on(Recipe.parse(data), root)
    found += heard(run / "events.jsonl") if run else []
    fixed = _fix(data, file, fix, root) if fix is not None else None
    if as_json:
        print_json([asdict(item) for item in found] if fixed is None else {"advice": [*map(asdict, found)], **fixed})
        return
    show.advice(Console(), found, least="note")
    if not found:
        print("No rule of thumb is violated.")
    if fixed is not None:
        _show_fix(fixed)


def _what(given: Path | None, out: Path) -> tuple[Path | None, Path, Path | None]:
    """The recipe file, the folder of runs, and the run's own folder if it is one."""
    if given is None or not given.is_dir():
        return given, out, None
    if not (given / "recipe.yaml").is_file():
        raise ConfigError(f"{given} is not a run folder: it has no recipe.yaml")
    return given / "recipe.yaml", given.parent, given


def _data(file: Path | None, sets: list[str]) -> dict[str, Any]:
    import copy

    from tutelage.recipe.config import QUICKSTART, override, read_yaml

    data = read_yaml(file) if file else copy.deepcopy(QUICKSTART)
    for item in sets:
        override(data, item)
    return data


def _fix(data: dict[str, Any], file: Path | None, target: Path, root: Path) -> dict[str, Any]:
    """Write the fixed recipe and report what was changed."""
    from tutelage.cli.ahead import advice_on
    from tutelage.recipe.fixes import apply_fixes, difference, written
    from tutelage.store.files import write_atomic

    def fixes_of(recipe: Recipe) -> list[str]:
        return [item.fix for item in advice_on(recipe, root) if item.fix and item.level in ("warning", "error")]

    from tutelage.recipe.config import Recipe

    fixed = apply_fixes(data, fixes_of)
    left = [item for item in advice_on(Recipe.parse(fixed.data), root) if item.level in ("warning", "error")]
    if fixed.sets:
        write_atomic(target, written(fixed.data))
    return {
        "written": str(target) if fixed.sets else None,
        "sets": list(fixed.sets),
        "refused": list(fixed.refused),
        "left": [asdict(item) for item in left],
        "diff": difference(data, fixed.data, str(file or "the quickstart's recipe"), str(target)),
    }


def _show_fix(fixed: dict[str, Any]) -> None:
    print()
    if not fixed["sets"]:
        print("No warning has a fix; nothing was written.")
    else:
        print(fixed["diff"], end="")
        print(f"Written to {fixed['written']}; comments in the recipe are not preserved.")
    for line in fixed["refused"]:
        print(f"not applied: {line}")
    for item in fixed["left"]:
        print(f"left to you: {item['message']}")


def _rules(console: Console, rules: list[dict[str, str]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("stage", "rule", "says", "source"):
        table.add_column(column, overflow="fold")
    for rule in rules:
        table.add_row(*rule.values())
    console.print(table)


__all__ = ["Advice", "advise", "register"]
