"""Options that several verbs share, and finding the model that the user names."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from tutelage.store.errors import ConfigError, DamagedError
from tutelage.store.events import plain

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel
    from tutelage.loading import Weights
    from tutelage.store.events import EventLog

Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a recipe key; the value is YAML, and `null` leaves a section out. Repeatable. "
        "E.g. `--set finetune.prefer.beta=0.3 --set finetune.classify=null`",
    ),
]
Out = Annotated[
    Path, typer.Option("--out", help="Folder of runs and artifacts, e.g. `--out /data/runs`", envvar="TUTELAGE_RUNS")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]
RecipeFile = Annotated[
    Path | None,
    typer.Option(
        "--recipe", help="Recipe file (YAML), e.g. `--recipe recipes/miniature.yaml`; default: the quickstart's."
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        "--nproc",
        help="Train in this many processes on this machine (one per GPU; on a CPU, to try out multi-process training), "
        "e.g. `--nproc 2`. On several machines use torchrun.",
    ),
]
Board = Annotated[
    Path | None,
    typer.Option(
        "--tensorboard", help="Also write the curves for TensorBoard into this folder, e.g. `--tensorboard board/`."
    ),
]
Track = Annotated[
    str | None,
    typer.Option("--track", help="Also send the figures to `trackio` (on this machine) or `wandb` (its settings)."),
]
OwnText = Annotated[
    str | None,
    typer.Option(
        "--source", help="Your own text: a folder, file or hf:NAME, e.g. `--source my_texts/`; default: the recipe's."
    ),
]
Source = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Run folder (or a step of it: `runs/quickstart/prefer`), artifact, model directory, .gguf file, "
        "`smollm2`, or org/name on the Hugging Face hub; e.g. `-m runs/quickstart`. Default: the last run's model.",
    ),
]
Adapter = Annotated[
    Path | None,
    typer.Option(
        help="A LoRA adapter to apply to the model: a folder in PEFT's layout, or a run (or step) that trained one; "
        "e.g. "
        "`--adapter my-adapter`, `--adapter runs/answers-instruct`."
    ),
]
WeightsOption = Annotated[
    str,
    typer.Option(
        "--weights",
        help="Precision of the weights: float32, bfloat16, int8 or int4, from exact to fast; auto keeps a 4-bit .gguf "
        "file as it is and otherwise uses float32; e.g. `--weights int8`.",
    ),
]
RUNS = Path("runs")


def open_model(
    source: str | None,
    root: Path = RUNS,
    wanted: str | None = None,
    adapter: Path | None = None,
    fold: bool = True,
    weights: str | None = None,
) -> LanguageModel:
    """The language model that the user names: of a run (see `find_model`), or from elsewhere; with an adapter, merged
    if `fold` unless it was trained on a 4-bit base, which is then quantised again. `weights`: as in `tutelage.load`."""
    from tutelage.interchange.peft import Sidecar
    from tutelage.interchange.source import is_foreign
    from tutelage.loading import adapted, load
    from tutelage.model.lora import merge_lora

    adapter = find_adapter(adapter, root) if adapter is not None else None
    stored = Sidecar.read(adapter).quantisation if adapter is not None else "none"
    place = source if source and is_foreign(source) else find_model(source, root, wanted)
    if adapter is None:
        return load(place, log=notes(), weights=cast("Weights | None", weights))
    if weights not in (None, "auto", "float32"):
        raise ConfigError(f"--weights {weights} and --adapter exclude each other", hint="fold it in: `tutelage export`")
    lm = load(place, log=notes(), quantisation=stored)
    lm = adapted(lm, adapter, notes())
    if fold and stored == "none":
        merge_lora(lm.model)
    return lm


def find_adapter(source: Path, root: Path = RUNS) -> Path:
    """The folder of the adapter: given as such, or the one that a run (or `RUN/STEP`) left next to its model."""
    if (source / "adapter_config.json").is_file():
        return source
    found = find_model(str(source), root) / "adapter"
    if not found.is_dir():
        raise ConfigError(f"{source} has no adapter", hint="a folder with adapter_config.json, or a run with `lora`")
    return found


def notes() -> EventLog:
    """A log whose notes and warnings go to standard error, with progress if that is a terminal."""
    from rich.console import Console

    from tutelage.cli.meter import Meter
    from tutelage.store.events import EventLog

    meter = Meter(Console(stderr=True), quiet=not sys.stderr.isatty())

    def say(event: dict[str, Any]) -> None:
        if event["event"] in ("note", "warning"):
            meter.clear()
            print(event["message"], file=sys.stderr)
        elif event["event"] == "progress":
            meter(event["what"], event["done"], event["total"], event["unit"])
            if event["done"] >= event["total"]:
                meter.clear()

    return EventLog(None, (say,))


def find_model(source: str | None, root: Path = RUNS, wanted: str | None = None) -> Path:
    """The model directory that the user names: given as such, a run's (`RUN`, `RUN/STEP`), or the last run's.

    Of a run: the stage named `wanted`, or the last whose result is a `wanted` ("classifier"), or its chat model.
    """
    path = Path(source) if source else _last_run(root)
    if not path.exists() and (path.parent / "run.json").exists():
        path, wanted = path.parent, path.name
    if not path.exists():
        runs = [str(run.parent) for run in path.parent.glob("*/run.json")] if path.parent.is_dir() else []
        close = get_close_matches(str(path), runs, n=1, cutoff=0.6)
        meant = f"did you mean {close[0]}? else " if close else ""
        hint = f"{meant}give a run folder, an artifact or a model directory"
        raise ConfigError(f"{path} does not exist", hint=hint)
    if not (path / "run.json").exists():
        return path
    try:
        record = json.loads((path / "run.json").read_text(encoding="utf-8"))
        made = [stage for stage in record["stages"] if stage.get("artifact")]
        if wanted is None:
            place = record["chat_model"]
        else:
            found = [stage for stage in made if wanted in (stage["stage"], stage.get("makes"))]
            place = found[-1]["artifact"] if found else None
    except (ValueError, KeyError, TypeError):
        raise DamagedError(f"{path / 'run.json'} is damaged", hint="run its recipe again") from None
    if not place:
        models = [
            str(stage["stage"])
            for stage in made
            if "model" in stage.get("makes", "") or stage.get("makes") == "classifier"
        ]
        there = f"; it has: {', '.join(models)}" if models else ""
        named = wanted or "trained model"
        if wanted is None or any(wanted in (stage["stage"], stage.get("makes")) for stage in record["stages"]):
            raise ConfigError(f"run {path} has no {named} yet{there}", hint="run it to its end first")
        hint = f"name one of these, e.g. {path}/{models[-1]}" if models else "run its recipe first"
        if wanted == "classifier":
            hint = f"`tutelage finetune classify FILE` trains one; to chat with this run: `tutelage chat -m {path}`"
        raise ConfigError(f"run {path} has no {named}{there}", hint=hint)
    return (path / place).resolve()


@dataclass(frozen=True)
class FoundClassifier:
    """The folder of a model or of TF-IDF; `combined`: the folder that says how the two are combined, if they are."""

    place: Path
    combined: Path | None = None


def find_classifier(source: str | None, root: Path = RUNS) -> FoundClassifier:
    """The classifier that the user names: a directory, `RUN/STEP`, `RUN/tfidf`, `RUN/STEP+tfidf`, or for a run the one
    that its evaluation recommends."""
    from tutelage.evaluation.combined import Combined, combined_folder, combined_name
    from tutelage.evaluation.lexical import FOLDER

    path = Path(source) if source else _last_run(root)
    named = path.name if not path.exists() and (path.parent / "run.json").exists() else ""
    run = path.parent if named else path
    both = named.endswith(f"+{FOLDER}")
    if not (run / "run.json").exists() or not (named in ("", FOLDER) or both):
        return FoundClassifier(find_model(source, root, "classifier"))
    measured = find_stage(run, "evaluate")
    if named:
        if measured is None or not (measured / named).is_dir():
            what = f"classifier {named}" if both else "TF-IDF classifier"
            raise ConfigError(f"run {run} has no {what}", hint="it is made where classifiers are evaluated")
        if both:
            step = Combined.load(measured / named).step
            return FoundClassifier(find_model(f"{run}/{step}", root, "classifier"), measured / named)
        return FoundClassifier(measured / named)
    if measured is None:
        return FoundClassifier(find_model(source, root, "classifier"))
    choices = json.loads((measured / "evaluation.json").read_text(encoding="utf-8")).get("choices", [])
    if len(choices) != 1:
        return FoundClassifier(find_model(source, root, "classifier"))
    use = choices[0]["use"]
    if use not in _steps(run):
        folders = {combined_name(step): combined_folder(step) for step in _steps(run)}
        use = folders.get(use, FOLDER if (measured / FOLDER).is_dir() else use)
    print(f"using {use}, as the evaluation recommends; another: -m {run}/NAME", file=sys.stderr)
    return find_classifier(f"{run}/{use}", root)


def find_stage(run: Path, name: str) -> Path | None:
    """The artifact of a run's stage; None if it does not exist."""
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    found = [stage["artifact"] for stage in record["stages"] if stage["stage"] == name and stage.get("artifact")]
    return (run / found[0]).resolve() if found else None


def _steps(run: Path) -> list[str]:
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return [stage["stage"] for stage in record["stages"] if stage.get("makes") == "classifier"]


def _last_run(root: Path) -> Path:
    try:
        return root / (root / "latest").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise ConfigError(
            f"there is no run in {root}/ yet", hint="run `tutelage quickstart` first, or name a model with --model"
        ) from None


def find_run(source: Path | None, root: Path = RUNS) -> Path:
    path = source or _last_run(root)
    if not (path / "run.json").exists():
        raise ConfigError(f"{path} is not a run folder: it has no run.json")
    return path


def find_log(source: Path | None, root: Path = RUNS) -> Path:
    """The run folder whose events to read; the run may have been killed before it wrote anything else."""
    return source or _last_run(root)


def print_json(data: Any) -> None:
    print(json.dumps(plain(data), ensure_ascii=False, allow_nan=False))
