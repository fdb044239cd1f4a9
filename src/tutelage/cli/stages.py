"""One verb per stage: corpus, pretrain; that of the tokenizer has more to it (`cli/tokenizer.py`)."""

from __future__ import annotations

from typing import Annotated

import typer

from tutelage.cli.life import run_stage
from tutelage.cli.options import RUNS, Json, Out, Processes, RecipeFile, Sets


def register(app: typer.Typer) -> None:
    for verb in (corpus, pretrain):
        app.command()(verb)


Corpus = Annotated[
    str | None,
    typer.Option(help="Own text: a folder, file or hf:NAME, e.g. `--source my_texts/`; default: the recipe's."),
]


def corpus(
    source: Corpus = None, recipe: RecipeFile = None, sets: Sets = None, out: Out = RUNS, as_json: Json = False
) -> None:
    """Documents in, selected documents out: clean, reduce to prose, deduplicate, split; with a data card.

    Example: `tutelage corpus --source my_texts/`
    """
    from tutelage.recipe.config import setting

    given = [] if source is None else [setting("corpus.source", source)]
    run_stage("corpus", recipe, given + (sets or []), out, as_json)


def pretrain(
    recipe: RecipeFile = None,
    sets: Sets = None,
    nproc: Processes = None,
    find_rate: Annotated[
        bool,
        typer.Option("--find-rate", help="Train nothing: try learning rates over a hundred steps and suggest one."),
    ] = False,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Train a decoder on the corpus to predict the next token: a fresh one, or the recipe's `base` further.

    Example: `tutelage pretrain --set model.num_layers=8 --set pretrain.training.steps=2000`
    """
    if find_rate:
        from tutelage.cli.rate import find

        find(recipe, sets, out, as_json)
        return
    run_stage("base", recipe, sets, out, as_json, nproc)
