"""The verb pretrain; corpus and tokenizer have separate files."""

from __future__ import annotations

from typing import Annotated

import typer

from tutelage.cli.life import run_stage
from tutelage.cli.options import RUNS, Json, Out, Processes, RecipeFile, Sets


def register(app: typer.Typer) -> None:
    app.command()(pretrain)


def pretrain(
    recipe: RecipeFile = None,
    sets: Sets = None,
    nproc: Processes = None,
    find_rate: Annotated[
        bool,
        typer.Option(
            "--find-rate", help="Instead of training, try learning rates over a hundred steps and suggest one."
        ),
    ] = False,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Train a decoder on the corpus to predict the next token: from scratch, or from the recipe's `base`.

    Example: `tutelage pretrain --set model.num_layers=8 --set pretrain.training.steps=2000`
    """
    if find_rate:
        from tutelage.cli.rate import find

        find(recipe, sets, out, as_json)
        return
    run_stage("base", recipe, sets, out, as_json, nproc)
