"""The runs of an ablation: the stages that each arm needs under each seed, by the runner and its cache, one by one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tutelage.ablation.arms import Arm, Match, positions_per_step, training_of, with_length, with_seed
from tutelage.guidance.costs import with_vocabulary
from tutelage.model.describe import forward_flops
from tutelage.recipe.config import BASE
from tutelage.recipe.run import run_recipe
from tutelage.store.artifacts import Artifact, open_artifact
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import Listener
from tutelage.store.hashing import sha256_json

CALIBRATION = (20, 60)  # steps of the run that measures how fast an arm is: a twentieth of the run, within these
CORPUS, TOKENIZER = "corpus", "tokenizer"


@dataclass
class Runner:
    """Runs recipes in `root`, each in a folder of its own below `folder`. `started`: stages that really ran."""

    root: Path
    folder: Path
    target: str
    listeners: tuple[Listener, ...] = ()
    started: int = 0
    made: dict[str, Artifact] = field(default_factory=dict)

    def model(self, arm: Arm, seed: int) -> Artifact:
        """The measured model of an arm under its `seed`-th seed."""
        return self._artifact(with_seed(arm.recipe, seed), self.target, f"{arm.name}-seed{seed}")

    def vocabulary(self, arm: Arm) -> int:
        """Tokens of an arm's tokenizer."""
        return int(self.tokenizer(arm).metrics["vocab_size"])

    def tokenizer(self, arm: Arm) -> Artifact:
        return self._artifact(arm.recipe, TOKENIZER, f"{arm.name}-tokenizer")

    def corpus(self, arm: Arm) -> Path:
        return self._artifact(arm.recipe, CORPUS, arm.name).path

    def _artifact(self, recipe: Any, target: str, name: str) -> Artifact:
        key = sha256_json([recipe.plain(), target])
        if key not in self.made:
            place = self.folder / "runs" / f"{re.sub(r'[^A-Za-z0-9._=-]+', '-', name)[:60]}-{key[:8]}"
            run = run_recipe(recipe, self.root, self.listeners, (target,), folder=place)
            self.started += sum(stage["status"] == "ran" for stage in run.record["stages"])
            record = run.stage(target)
            if not record.get("artifact"):
                raise InputError(f"{target} of {name} was not made: {record.get('why') or record['status']}")
            self.made[key] = open_artifact((run.path / record["artifact"]).resolve())
        return self.made[key]


def matched(arms: list[Arm], runner: Runner, match: Match, tell: Callable[[str], None]) -> list[Arm]:
    """The arms with as many steps as make them equal in steps, tokens, seconds or FLOPs of training to the first.

    Seconds are measured on a short run of each arm, whose result is cached, so that a second call comes to the same
    number of steps. FLOPs are counted, of the base only. Raises ConfigError where tokens or FLOPs cannot be counted
    before the run.
    """
    first = arms[0]
    target, settings = runner.target, training_of(first.recipe, runner.target)
    steps = settings.steps or int(runner.model(first, 0).metrics.get("steps", 0))
    if not steps:
        raise ConfigError(f"the first arm takes no training steps, so {match} cannot be matched",
                          hint="put the arm that is trained first, or compare the two runs")  # fmt: skip
    if match == "steps":
        return [first, *(_longer(arm, target, steps) for arm in arms[1:])]
    if match == "tokens":
        per_step = {arm.name: positions_per_step(arm.recipe, target) for arm in arms}
        if not all(per_step.values()) and len(set(per_step.values())) > 1:
            raise ConfigError(
                "the context is chosen from the rows, so tokens cannot be matched", hint="set context_length"
            )
        return [_longer(arm, target, _times(steps, per_step[first.name], per_step[arm.name])) for arm in arms]
    if match == "compute":
        flops = {arm.name: _flops_per_step(arm, runner) for arm in arms}
        return [_longer(arm, target, _times(steps, flops[first.name], flops[arm.name])) for arm in arms]
    short = min(steps, max(CALIBRATION[0], min(CALIBRATION[1], steps // 20)))
    pace = {}
    for arm in arms:
        trial = runner.model(_longer(arm, target, short), 0)
        pace[arm.name] = max(1e-6, seconds_of(trial)) / max(1, int(trial.metrics["steps"]))
        tell(f"{arm.name}: {1000 * pace[arm.name]:.0f} ms a step in {short} steps")
    return [_longer(arm, target, _times(steps, pace[first.name], pace[arm.name])) for arm in arms]


def seconds_of(model: Artifact) -> float:
    """Seconds of training, without encoding and saving; by its pace, since a resumed run timed its last part only."""
    timing, tokens = model.metrics["timing"], model.metrics.get("tokens_seen")
    pace = timing.get("tokens_per_second")
    return float(tokens) / float(pace) if tokens and pace else float(timing["seconds"])


def _flops_per_step(arm: Arm, runner: Runner) -> float:
    """Training FLOPs of a step of the base, its output layer over the vocabulary included."""
    recipe = arm.recipe
    if runner.target != BASE or recipe.base is not None or recipe.pretrain is None:
        raise ConfigError("--match compute needs a base that is pretrained here", hint="--match seconds")
    shape = with_vocabulary(recipe.model, runner.vocabulary(arm))
    return positions_per_step(recipe, BASE) * 3.0 * forward_flops(shape, recipe.pretrain.context_length)


def _times(steps: int, ours: float, theirs: float) -> int:
    return max(1, round(steps * ours / theirs)) if theirs else steps


def _longer(arm: Arm, target: str, steps: int) -> Arm:
    if training_of(arm.recipe, target).steps == steps:
        return arm
    return replace(arm, recipe=with_length(arm.recipe, target, steps))
