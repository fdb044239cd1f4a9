"""`tutelage ablate data --search`: the mixture of a corpus's sources that small runs predict as best, and its test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tutelage.cli.options import print_json

if TYPE_CHECKING:
    from tutelage.ablation.arms import Arm


def search_mixture(
    recipe: Path | None, sets: list[str], by: str, name: str, count: int, out: Path, as_json: bool,
    say: Callable[..., None], listen: Callable[[dict[str, Any]], None],
) -> tuple[list[Arm], dict[str, Any]]:  # fmt: skip
    """(the recipe and the proposed mixture as arms, what was found). Exits with 3 where nothing is proposed."""
    from tutelage.ablation.bench import FOLDER
    from tutelage.ablation.data import filter_arms, held_out_otherwise, measured_sources
    from tutelage.ablation.mixture import arm_of, lines, plain, search
    from tutelage.ablation.runs import Runner
    from tutelage.recipe.config import BASE
    from tutelage.store.files import write_json

    first = filter_arms(recipe, sets)[0]
    runner = Runner(out, out / FOLDER / name, BASE, (listen,))
    sizes = measured_sources(first, runner.corpus(first), by)
    if uneven := held_out_otherwise(runner.corpus(first), by):
        say(f"warning: {uneven}", "yellow")
    found = search(first, by, sizes, count, runner, say)
    write_json(runner.folder / "mixture.json", plain(found))
    for line in lines(found):
        say(line)
    if not found.predicted.holds:
        if as_json:
            print_json({"mixture": plain(found)})
        raise typer.Exit(3)
    return [first, arm_of(first, by, sizes, found.shares, "predicted best mixture")], plain(found)
