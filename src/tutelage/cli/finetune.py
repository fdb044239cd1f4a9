"""`tutelage finetune`: a step of a recipe, or one step on the user's own file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tutelage.cli.options import RUNS, Json, Out, Processes, RecipeFile, Sets, find_model, notes
from tutelage.store.errors import ConfigError, nearest

if TYPE_CHECKING:
    from tutelage.recipe.config import Recipe


def register(app: typer.Typer) -> None:
    app.command()(finetune)


def _methods() -> str:
    from tutelage.finetuning import method_names

    return ", ".join(method_names())


def finetune(
    method: Annotated[
        str, typer.Argument(help=f"{_methods()}; without DATA: the name of a step of the recipe."),
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            help="Your own rows: .csv, .tsv, .xlsx, .json, .jsonl or .parquet, or a folder of these; columns are "
            "recognised by name. For further: a folder or file of text."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m",
            help="The model to finetune: `smollm2` (135M parameters, downloaded once, 98 MB), a run, a model "
                 "directory, a "
            ".gguf file, or org/name on the Hugging Face hub. Default: the last run's model.",
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="If the file's columns have other names: `--column text=body --column label=stars`; a path into a "
            "nested record: `--column prompt=fields.prompt`."
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="A task whose rule grades the answers, e.g. `--task docstrings`; default: none.")
    ] = None,
    ways: Annotated[
        str,
        typer.Option(
            help="Ways to finetune, compared with each other, e.g. `--ways head,lora,full`: a head on the frozen "
            "model, adapters, all weights; default for classify: head and lora (head and full for a small model)."
        ),
    ] = "",
    learning_curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve",
            help="For classify: also train on 1/8, 1/4 and 1/2 of the rows, and say what twice as many rows would "
                 "gain.",
        ),
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(help="For translate, if DATA holds one language only: the file with the other, line by line."),
    ] = None,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit",
            help="Train nothing: show exactly what would be trained on, token by token, and anything odd about "
            "it.",
        ),
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the run; default: made from the file and the method.")] = "",
    recipe: RecipeFile = None,
    sets: Sets = None,
    nproc: Processes = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Finetune a model: as a classifier or an assistant, on preferences (DPO, KTO), on rewards (GRPO), on further
    text, ...

    With a file: check it first, say what will happen and how long it takes, train, evaluate on held-out rows next to
    trivial baselines, and print the command that uses the result.

    Example: `tutelage finetune classify reviews.csv --model smollm2 --column text=body --column label=stars`

    Example: `tutelage finetune further my_texts/ --model smollm2`

    With `--audit`, train nothing and show exactly what would be trained on.

    Example: `tutelage finetune instruct answers.jsonl --model smollm2 --audit`

    Without a file: run the step of that name of a recipe (default: the quickstart's).

    Example: `tutelage finetune prefer --set finetune.prefer.beta=0.3`
    """
    from tutelage.cli.life import raise_model, run_stage

    if data is None:
        if model or column or task or ways or audit:
            raise ConfigError(
                "--model, --column, --task, --ways and --audit go with a file",
                hint="tutelage finetune classify FILE ...",
            )
        run_stage(_step(method, recipe, sets), recipe, sets, out, as_json, nproc)
        return
    if recipe is not None:
        raise ConfigError(
            "a file and --recipe exclude each other", hint="name the file in the recipe: finetune.NAME.data"
        )
    wanted = [way.strip() for way in ways.split(",") if way.strip()]
    made = _recipe(method, data, model, column or [], task, sets or [], name, out, wanted, learning_curve, target)
    if audit:
        from tutelage.cli.audit import show_audit

        show_audit(made, as_json)
        return
    raise_model(made, out, as_json, processes=nproc, single=method)


def _step(name: str, recipe: Path | None, sets: list[str] | None) -> str:
    """The step of that name. Raises ConfigError naming the existing ones."""
    from tutelage.recipe.config import load_recipe

    steps = load_recipe(recipe, sets or []).finetune
    parts = [f"{step}.pairs" for step in steps]
    if name not in steps and name not in parts:
        raise ConfigError(
            f"the recipe has no step {name!r}", hint=f"{nearest(name, steps)}; or name a file to learn from"
        )
    return name


def _recipe(
    method: str,
    data: str,
    model: str | None,
    columns: list[str],
    task: str | None,
    sets: list[str],
    name: str,
    out: Path,
    ways: list[str],
    curve: bool,
    target: str | None,
) -> Recipe:
    from tutelage.finetuning import method as spec_of
    from tutelage.interchange.source import config_at_hand, is_foreign, read_config
    from tutelage.model.describe import parameters
    from tutelage.model.hf_config import load_config
    from tutelage.recipe.one_step import one_step_recipe, parse_columns, read_own_rows

    spec = spec_of(method, "METHOD")
    if not Path(data).expanduser().exists():
        raise ConfigError(f"the file {data} does not exist")
    if target is not None and not Path(target).expanduser().exists():
        raise ConfigError(f"the file {target} does not exist")
    own = read_own_rows(method, data, parse_columns(columns), task, notes(), target)
    if model and is_foreign(model):
        source, config = model, config_at_hand(model) or read_config(model, notes())
    else:
        # Of a run, preferences and problems are trained on its chat model, anything else on its base.
        wanted = None if spec.heldout in ("pairs", "problems") else "base"
        source = str(find_model(model, out, wanted))
        config = load_config(Path(source))
    total = sum(parameters(config).values())
    return one_step_recipe(own, source, total, config.max_position_embeddings, sets, name, ways, curve)
