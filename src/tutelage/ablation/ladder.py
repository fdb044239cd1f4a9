"""A ladder of small models: several widths, each trained for several lengths, every run cached like any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tutelage.ablation.arms import Arm
from tutelage.ablation.bench import FOLDER
from tutelage.ablation.runs import Runner, seconds_of
from tutelage.model.config import ModelConfig
from tutelage.model.describe import forward_flops, multiplied_parameters, parameters
from tutelage.model.hf_config import load_config
from tutelage.pretraining.scaling import Point, effective_data
from tutelage.pretraining.sizing import learning_rate, model_of
from tutelage.recipe.config import BASE, Recipe, override
from tutelage.recipe.locks import exclusive
from tutelage.store.artifacts import Artifact
from tutelage.store.errors import ConfigError
from tutelage.store.events import Listener

FEWEST_RUNS, FEWEST_WIDTHS = 4, 2
USUAL_VOCABULARY = 4096  # when it depends on the text; only the ratio of two learning rates depends on it


@dataclass(frozen=True)
class Rung:
    """A run to be made: a width and a number of steps, as a whole recipe."""

    width: int
    steps: int
    arm: Arm


@dataclass(frozen=True)
class LadderRun:
    """A run that was made. `parameters`: those that are multiplied (blocks and output head). `tokens`: seen; `fresh`:
    the equivalent number of unrepeated ones. `flops`: of training. `seconds`: of training, by its pace."""

    width: int
    steps: int
    parameters: int
    total_parameters: int
    tokens: int
    fresh: float
    passes: float
    flops: float
    seconds: float
    bits_per_byte: float

    @property
    def point(self) -> Point:
        return Point((float(self.parameters), self.fresh), self.bits_per_byte)


@dataclass(frozen=True)
class Ladder:
    """All runs, in the order of their compute; folder: where they and the page are; started: stages that actually
    ran."""

    name: str
    runs: tuple[LadderRun, ...]
    folder: Path
    started: int


def rungs_of(recipe: Recipe, widths: Sequence[int], lengths: Sequence[float]) -> list[Rung]:
    """Every width with every length. Apart from the shape only the learning rate changes, scaled as in
    `pretraining/sizing.py`. Raises ConfigError for a recipe without a fresh base, and for too few runs to fit
    anything."""
    if recipe.pretrain is None or recipe.base is not None:
        raise ConfigError("a ladder pretrains fresh models, and this recipe's base comes from elsewhere")
    if not recipe.pretrain.training.steps:
        raise ConfigError(
            "a ladder needs to know how long the longest run is", hint="--set pretrain.training.steps=2000"
        )
    widths, lengths = sorted(set(widths)), sorted(set(lengths))
    if len(widths) < FEWEST_WIDTHS or len(widths) * len(lengths) < FEWEST_RUNS:
        raise ConfigError(
            f"{len(widths)} widths and {len(lengths)} lengths are too few to fit a law to",
            hint=f"at least {FEWEST_WIDTHS} widths and {FEWEST_RUNS} runs: --ladder 48,64,96,128",
        )
    return [_rung(recipe, width, length) for width in widths for length in lengths]


def run_ladder(
    name: str,
    rungs: Sequence[Rung],
    root: Path,
    tell: Callable[[str], None] = lambda line: None,
    listeners: tuple[Listener, ...] = (),
) -> Ladder:
    """Make the runs that are not in the cache, the cheapest first. Raises the errors of a run; if called again,
    finished runs are not repeated."""
    folder = root / FOLDER / name
    with exclusive(root / "work" / f"ablation-{name}.lock", f"another process is working in {folder}"):
        runner = Runner(root, folder, BASE, listeners)
        done = []
        for number, rung in enumerate(sorted(rungs, key=lambda one: one.width**2 * one.steps)):
            before = runner.started
            done.append(_run_of(rung, runner.model(rung.arm, 0)))
            how = "" if runner.started > before else " (cached)"
            tell(
                f"{number + 1} of {len(rungs)}: width {rung.width}, {rung.steps} steps: "
                f"{done[-1].bits_per_byte:.4f} bits per byte{how}"
            )
        return Ladder(name, tuple(sorted(done, key=lambda one: one.flops)), folder, runner.started)


def _rung(recipe: Recipe, width: int, length: float) -> Rung:
    assert recipe.pretrain is not None
    training, data = recipe.pretrain.training, recipe.plain()
    steps = max(1, round(length * training.steps))
    vocabulary = recipe.model.vocab_size or recipe.tokenizer.vocab_size or USUAL_VOCABULARY
    shape = {**model_of(width, vocabulary), "tie_word_embeddings": recipe.model.tie_word_embeddings}
    own, theirs = _size(recipe.model, vocabulary), _size(recipe.model.with_(**shape, head_dim=0), vocabulary)
    rate = training.learning_rate * learning_rate(theirs) / learning_rate(own)
    changes = {
        **{f"model.{key}": value for key, value in shape.items()},
        "model.head_dim": 0,
        "pretrain.training.learning_rate": round(rate, 6),
        "pretrain.training.steps": steps,
        "pretrain.training.warmup_steps": min(training.warmup_steps, max(1, steps // 10)),
    }
    for key, value in changes.items():
        override(data, f"{key}={str(value).lower() if isinstance(value, bool) else value}")
    sets = tuple(f"{key}={value}" for key, value in changes.items())
    return Rung(width, steps, Arm(f"width-{width}-steps-{steps}", sets, Recipe.parse(data)))


def _size(model: ModelConfig, vocabulary: int) -> int:
    return sum(parameters(model.with_(vocab_size=vocabulary)).values())


def _run_of(rung: Rung, model: Artifact) -> LadderRun:
    recipe, metrics = rung.arm.recipe, model.metrics
    assert recipe.pretrain is not None
    shape = load_config(model.path)
    tokens = int(metrics["tokens_seen"])
    return LadderRun(
        width=rung.width,
        steps=rung.steps,
        parameters=multiplied_parameters(shape),
        total_parameters=int(metrics["parameters"]),
        tokens=tokens,
        fresh=effective_data(float(metrics["train_tokens"]), float(tokens)),
        passes=float(metrics["epochs"]),
        flops=3.0 * forward_flops(shape, recipe.pretrain.context_length) * tokens,
        seconds=seconds_of(model),
        bits_per_byte=float(metrics["heldout_bits_per_byte"]),
    )
