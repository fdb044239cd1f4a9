"""`tutelage ablate --ladder`: how loss falls with size, data and compute, from a ladder of small runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.cli.options import print_json
from tutelage.store.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from tutelage.recipe.config import Recipe


def ladder(
    recipe: Recipe, name: str, widths: str, lengths: str, out: Path, as_json: bool,
    console: Console, say: Callable[[str], None], listen: Callable[[dict[str, Any]], None],
) -> None:  # fmt: skip
    """Run the ladder, fit, write, and print the findings; the held-out check first."""
    from tutelage.ablation.ladder import run_ladder, rungs_of
    from tutelage.ablation.ladder_page import write_ladder
    from tutelage.ablation.law import findings, sentences

    rungs = rungs_of(recipe, [int(one) for one in _numbers(widths, "--ladder")], _numbers(lengths, "--lengths"))
    say(f"{len(rungs)} runs, the cheapest first.")
    data, page = write_ladder(findings(run_ladder(name, rungs, out, say, (listen,))))
    if as_json:
        print_json({**data, "page": str(page)})
        return
    for number, line in enumerate(sentences(data)):
        console.print(line, style="bold" if not number else "", highlight=False, markup=False, soft_wrap=True)
    console.print(f"{page}", highlight=False, soft_wrap=True)


def _numbers(text: str, option: str) -> list[float]:
    try:
        found = [float(one) for one in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} {text} is not a list of numbers", hint="e.g. --ladder 48,64,96,128") from None
    if any(one <= 0 for one in found):
        raise ConfigError(f"{option} {text}: every number must be above 0")
    return found
