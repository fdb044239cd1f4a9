"""`tutelage ablate --ask`: ready-made questions, run one after another on one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from tutelage.cli.findings import answered
from tutelage.cli.options import print_json

LIST = "list"


def ask_ready(
    names: str, path: Path | None, sets: list[str], recipe: str, seeds: int, effect: float, out: Path, as_json: bool
) -> None:
    """Ask each of the questions and print what the literature says next to what was found. Questions that the recipe
    cannot answer are reported and left out; all are checked before the first one runs. A single question exits with
    its own code, as with --vary: several have no common verdict."""
    from tutelage.ablation.arms import arms_of, target_of, varied_keys
    from tutelage.ablation.bench import Question
    from tutelage.ablation.ready import ALL, answer, wanted
    from tutelage.recipe.config import load_recipe
    from tutelage.store.errors import ConfigError

    if names.strip() == LIST:
        _list(as_json)
        return
    whole, several = load_recipe(path, sets), names.strip() == ALL
    questions, left_out = [], {}
    for ready in wanted(names):
        try:
            arms = arms_of(path, sets, ready.vary(whole))
            target = target_of(varied_keys(arms), arms[0].recipe, None)
        except ConfigError as error:
            if not several:
                raise
            left_out[ready.name] = error.message
            continue
        name = f"{recipe}-{ready.name}"
        questions.append((ready, Question(name, tuple(arms), target, seeds, ready.match, effect)))
    console = Console(stderr=as_json)
    said: list[dict[str, Any]] = []
    for ready, question in questions:
        console.print(f"\n[bold]{ready.name}[/]: {ready.asks}", highlight=False, soft_wrap=True)
        found = answered(question, out, as_json)
        said.append(
            {
                "question": ready.name,
                "asks": ready.asks,
                "literature": ready.literature,
                "found": answer(found),
                **found,
            }
        )
    if as_json:
        print_json({"questions": said, "left_out": left_out})
    else:
        _show(console, said, left_out)
    if len(said) == 1 and not several:
        raise typer.Exit(said[0]["code"])


def _show(console: Console, said: list[dict[str, Any]], left_out: dict[str, str]) -> None:
    for one in said:
        console.print(f"\n[bold]{one['asks']}[/]", highlight=False, soft_wrap=True)
        console.print(f"  literature: {one['literature']}", highlight=False, markup=False, soft_wrap=True)
        console.print(f"  found here: {one['found']}", highlight=False, markup=False, soft_wrap=True)
    for name, why in left_out.items():
        console.print(f"[yellow]left out[/] {name}: {why}", highlight=False, soft_wrap=True)


def _list(as_json: bool) -> None:
    from tutelage.ablation.ready import READY

    if as_json:
        print_json(
            [
                {"name": one.name, "asks": one.asks, "literature": one.literature, "match": one.match}
                for one in READY.values()
            ]
        )
        return
    for one in READY.values():
        print(f"{one.name:12} {one.asks}\n{'':12} literature: {one.literature}")
