"""Verbs of the whole life: quickstart, run, plan."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tutelage.cli.ahead import look_ahead
from tutelage.cli.options import RUNS, Board, Json, Out, Processes, RecipeFile, Sets, Track, print_json
from tutelage.store.errors import ConfigError

if TYPE_CHECKING:
    from tutelage.recipe.config import Recipe


def register(app: typer.Typer) -> None:
    app.command()(quickstart)
    app.command()(run)
    app.command()(plan)


def quickstart(
    corpus: Annotated[
        str | None,
        typer.Option(
            help="Your own text: a folder, a .txt/.md/.html/.jsonl(.gz/.zst)/.parquet file, or hf:NAME, e.g. "
            "`--corpus my_texts/`; default: the documentation of this Python."
        ),
    ] = None,
    sets: Sets = None,
    nproc: Processes = None,
    tensorboard: Board = None,
    track: Track = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Raise a small model from real text on this machine: data, tokenizer, pretraining, finetuning, report.

    Takes about ten minutes on two CPU cores, without a network. A second run takes seconds; after an interruption
    it resumes where it stopped.

    Example: `tutelage quickstart --corpus my_texts/ --set pretrain.training.steps=2000`
    """  # fmt: skip
    from tutelage.recipe.config import load_recipe, setting

    given = [] if corpus is None else [setting("corpus.source", corpus)]
    raise_model(load_recipe(None, given + (sets or [])), out, as_json, processes=nproc, board=tensorboard, track=track)


def run(
    recipe: Annotated[Path, typer.Argument(help="Recipe file (YAML), e.g. recipes/quickstart.yaml.")],
    sets: Sets = None,
    nproc: Processes = None,
    tensorboard: Board = None,
    track: Track = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Run a recipe: cached stages are skipped, and an interrupted one resumes from its last checkpoint.

    Example: `tutelage run recipes/quickstart.yaml --set finetune.prefer.beta=0.3`
    """
    from tutelage.recipe.config import load_recipe

    raise_model(load_recipe(recipe, sets or []), out, as_json, processes=nproc, board=tensorboard, track=track)


def plan(
    recipe: Annotated[Path | None, typer.Argument(help="Recipe file (YAML); default: the quickstart's.")] = None,
    sets: Sets = None,
    gpus: Annotated[
        int | None,
        typer.Option(
            "--gpus",
            min=1,
            help="Instead plan the pretraining of its model on this many H100s: mesh, batch, traffic, "
            "checkpoints, failures, days; e.g. `--gpus 1024`.",
        ),
    ] = None,
    tokens: Annotated[
        float, typer.Option(help="With --gpus: tokens to train on, e.g. `--tokens 2e12`; 0: 20 per parameter.")
    ] = 0.0,
    hours: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="Instead propose a recipe that takes this many hours on this machine, e.g. `--hours 8`."
        ),
    ] = None,
    goal: Annotated[
        str, typer.Option(help="With --hours: what the model is for: `base`, `chat`, or a finetuning method.")
    ] = "base",
    corpus: Annotated[
        str,
        typer.Option(help="With --hours: the text, e.g. `--corpus my_texts/`; default: the documentation of Python."),
    ] = "python",
    data: Annotated[
        Path | None,
        typer.Option(help="With --hours: the rows to finetune on, e.g. `--data chats.jsonl`."),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="With --hours: a new file for the recipe, e.g. `--write night.yaml`.")
    ] = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Show what a recipe would do: cached stages, stages to run, their forecast, and advice. Runs nothing.

    With --hours, propose a recipe for a text, a goal and a time budget: model size, training length, batch size and
    learning rate, each with its reason.

    Example: `tutelage plan --set model.num_layers=8`, `tutelage plan --hours 8 --corpus my_texts/ --goal base`
    """  # fmt: skip
    from rich.console import Console

    from tutelage.cli import show
    from tutelage.recipe.config import load_recipe

    if hours is not None:
        from tutelage.cli.propose import propose

        if recipe is not None or gpus:
            raise ConfigError("--hours proposes a new recipe", hint="leave out the recipe and --gpus")
        propose(goal, hours, corpus, data, sets or [], write, out, as_json)
        return
    if goal != "base" or corpus != "python" or data or write:
        raise ConfigError("--goal, --corpus, --data and --write belong to --hours", hint="e.g. --hours 1")
    wanted = load_recipe(recipe, sets or [])
    if gpus:
        from tutelage.guidance.cluster import plan_cluster
        from tutelage.guidance.costs import with_vocabulary
        from tutelage.tokenizer.forecast import expected_size

        if wanted.pretrain is None:
            raise ConfigError("this recipe pretrains nothing: its base comes from elsewhere")
        shape = with_vocabulary(wanted.model, expected_size(wanted.tokenizer))
        many = plan_cluster(shape, gpus, wanted.pretrain.context_length, tokens)
        print_json(many) if as_json else show.cluster(Console(), many)
        return
    ahead = look_ahead(wanted, out)
    if as_json:
        print_json(ahead.plain())
        return
    show.plan(Console(), wanted.name, ahead.planned, ahead.outlook, ahead.advice)


def raise_model(
    recipe: Recipe,
    root: Path,
    as_json: bool,
    targets: tuple[str, ...] = (),
    processes: int | None = None,
    board: Path | None = None,
    track: str | None = None,
    single: str = "",
) -> None:
    """Run with live progress; then the report and what to do next. The report is written for a failed run too.

    `single`: the method whose steps the run is about; their figures are printed at the end. With `processes` this one
    only starts that many and waits; under torchrun it is already one of several.
    """
    from rich.console import Console

    from tutelage.cli import results, show
    from tutelage.cli.launch import is_started, run_processes
    from tutelage.cli.progress import Progress
    from tutelage.recipe.run import follow_recipe, run_recipe
    from tutelage.report.write import write_report
    from tutelage.store.events import Listener
    from tutelage.store.tensorboard import TensorBoard
    from tutelage.store.tracking import Tracker

    if processes is not None and not is_started():
        raise typer.Exit(run_processes(processes))
    if is_started():
        from tutelage.training.distributed.world import join_world, leave_world

        if not join_world().first:
            follow_recipe(recipe)
            leave_world()
            return

    boards: tuple[Listener, ...] = (TensorBoard(board),) if board else ()
    if track:
        boards = (*boards, Tracker(track, recipe.name, recipe.plain()))
    console = Console(stderr=as_json)
    ahead = look_ahead(recipe, root, targets)
    advice = tuple(
        f"{item.message} ({item.source})" + (f"; {item.fix}" if item.fix else "")
        for item in ahead.advice
        if item.level in ("warning", "error")
    )
    show.announce(console, ahead.outlook)
    with Progress(console, [state.stage for state in ahead.planned], ahead.outlook.forecasts) as progress:
        try:
            finished = run_recipe(recipe, root, (progress, *boards), targets, ahead.outlook.kept, advice)
        except BaseException:
            if not targets and (root / recipe.name / "run.json").exists():
                with contextlib.suppress(Exception):  # the error of the run itself is what has to be reported
                    write_report(root / recipe.name)
            raise
        report = None if targets else write_report(finished.path)
    if as_json:
        print_json({**finished.record, "run": str(finished.path), "report": str(report) if report else None})
    elif targets:
        results.stage_result(console, finished, targets[-1])
    elif single:
        results.steps(console, finished, single, report, root)
    else:
        results.finish(console, finished, report, root)


def run_stage(
    name: str, recipe_file: RecipeFile, sets: Sets, out: Path, as_json: bool, processes: int | None = None
) -> None:
    """Run one stage of a recipe and whatever it needs that is not cached."""
    from tutelage.recipe.config import load_recipe

    raise_model(load_recipe(recipe_file, sets or []), out, as_json, targets=(name,), processes=processes)
