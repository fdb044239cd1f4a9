"""`tutelage pretrain --find-rate`: the sweep of the learning rate, and what it suggests."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tutelage.cli.options import print_json

if TYPE_CHECKING:
    from rich.console import Console

    from tutelage.training.rate_finder import RateFinding

SHOWN = 16  # rates of the table


def find(recipe_file: Path | None, sets: list[str] | None, root: Path, as_json: bool) -> None:
    """Make corpus and tokenizer if they are not there, sweep, and print."""
    from rich.console import Console

    from tutelage.cli.progress import Progress
    from tutelage.pretraining.stage import find_learning_rate
    from tutelage.recipe.config import load_recipe
    from tutelage.recipe.run import run_recipe
    from tutelage.store.errors import ConfigError
    from tutelage.store.events import EventLog

    recipe = load_recipe(recipe_file, sets or [])
    if recipe.base or recipe.pretrain is None:
        raise ConfigError("this recipe takes its base from elsewhere", hint="leave out the section `base`")
    console = Console(stderr=as_json)
    with Progress(console, ["corpus", "tokenizer", "base"], {}) as progress:
        run = run_recipe(recipe, root, (progress,), ("tokenizer",))
        corpus, tokenizer = (run.path / run.stage(name)["artifact"] for name in ("corpus", "tokenizer"))
        log = EventLog(None, (progress,), "base")
        log.emit("stage_start")
        with tempfile.TemporaryDirectory() as work:
            found = find_learning_rate(
                recipe.pretrain, recipe.model, corpus, tokenizer, Path(work), log, recipe.seed
            )  # fmt: skip
    if as_json:
        print_json(asdict(found))
    else:
        show(console, found)


def show(console: Console, found: RateFinding) -> None:
    """A table with a bar for each loss, and the suggestion as an option to type."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("rate", "loss", ""):
        table.add_column(column, justify="right" if column else "left")
    low, high = min(found.losses), max(found.losses)
    every = max(1, len(found.rates) // SHOWN)
    for rate, loss in list(zip(found.rates, found.losses, strict=True))[::every]:
        bar = "█" * round(1 + 30 * (loss - low) / max(high - low, 1e-9))
        table.add_row(f"{rate:.2g}", f"{loss:.3f}", f"[cyan]{bar}[/]")
    console.print(table)
    console.print(f"Suggested: {found.suggested:g}, because {found.why}.", highlight=False, soft_wrap=True)
    console.print(f"Use it:    --set pretrain.training.learning_rate={found.suggested:g}", highlight=False)
