"""The arms of an ablation: the recipe with one or several keys set to each of several values."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from tutelage.ablation.measure import KINDS
from tutelage.finetuning import method
from tutelage.recipe.config import BASE, QUICKSTART, Recipe, override, read_yaml
from tutelage.store.errors import ConfigError, nearest

Match = Literal["steps", "tokens", "seconds", "compute"]
MATCHES: tuple[Match, ...] = ("steps", "tokens", "seconds", "compute")
OWN = "as in the recipe"
MOST_ARMS = 64
LENGTH_KEYS = ("training.steps", "training.epochs")


@dataclass(frozen=True)
class Arm:
    """One variant. `sets`: what it changes in the recipe (`key=value`); the first arm is the baseline."""

    name: str
    sets: tuple[str, ...]
    recipe: Recipe


@dataclass(frozen=True)
class Vary:
    """A recipe key and its values, as written."""

    key: str
    values: tuple[str, ...]


def parse_vary(text: str) -> Vary:
    """`KEY=A,B,C`; commas inside brackets, braces and quotes belong to a value. Raises ConfigError."""
    key, equals, listed = text.partition("=")
    values = _split(listed)
    if not equals or not key.strip() or not all(values):
        raise ConfigError(
            f"--vary {text!r} is not of the form KEY=A,B", hint="e.g. --vary pretrain.training.optimizer=adamw,muon"
        )
    return Vary(key.strip(), tuple(values))


def arms_of(path: Path | None, sets: Sequence[str], varied: Sequence[str]) -> list[Arm]:
    """Every combination of the varied keys' values, as complete, validated recipes, in the order they were written.

    A single value is compared with the recipe as it is, which is then the first arm. Raises ConfigError for a wrong key
    or value (naming the nearest), before anything is run.
    """
    if not varied:
        raise ConfigError("nothing is varied", hint="e.g. --vary pretrain.training.optimizer=adamw,muon")
    data = read_yaml(path) if path else copy.deepcopy(QUICKSTART)
    for item in sets:
        override(data, item)
    axes = [parse_vary(one) for one in varied]
    keys = [axis.key for axis in axes]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise ConfigError(f"{twice} is varied twice", hint="give all its values in one --vary")
    alone = len(axes) == 1 and len(axes[0].values) == 1
    grid = [
        *([()] if alone else []),
        *itertools.product(*([(axis.key, value) for value in axis.values] for axis in axes)),
    ]
    if len(grid) < 2:
        raise ConfigError("there is only one arm", hint="name two values or more: --vary KEY=A,B")
    if len(grid) > MOST_ARMS:
        raise ConfigError(f"{len(grid)} arms are too many", hint=f"at most {MOST_ARMS}; vary fewer keys at once")
    return _told_apart([_arm(data, pairs) for pairs in grid])


def target_of(varied: Sequence[str], recipe: Recipe, asked: str | None) -> str:
    """The stage whose model is measured: `asked`, else the finetuning step that all varied keys belong to, else the
    base. Raises ConfigError if it cannot be measured item by item."""
    steps = {key.split(".")[1] for key in varied if key.startswith("finetune.") and key.count(".") > 1}
    only = len(steps) == 1 and all(key.startswith("finetune.") for key in varied)
    target = asked or (next(iter(steps)) if only else BASE)
    if target == BASE:
        if recipe.pretrain is None:
            raise ConfigError(
                "the base of this recipe is not trained here, so the seed has no effect", hint="vary a finetuning step"
            )
        return target
    if target not in recipe.finetune:
        raise ConfigError(f"this recipe has no step {target!r}", hint=nearest(target, [BASE, *recipe.finetune]))
    spec = method(recipe.finetune[target].method)
    if spec.heldout not in KINDS or (spec.heldout == "pairs" and spec.makes == "reward model"):
        raise ConfigError(
            f"step {target} ({spec.kind}) has no held-out items on which arms could be compared",
            hint="ablate the base, or a step of classify, prefer, instruct, further or translate",
        )
    return target


def length_key(target: str) -> str:
    """The keys that set how long the measured model is trained."""
    return "pretrain.training" if target == BASE else f"finetune.{target}.training"


def refuse_varied_length(target: str, keys: Sequence[str], match: Match) -> None:
    """`match` makes all arms equally long; a varied length would be silently overridden."""
    place = length_key(target)
    if clash := [key for key in keys if key in (f"{place}.steps", f"{place}.epochs")]:
        raise ConfigError(f"{clash[0]} is what --match {match} holds equal", hint="vary something else")


def with_length(recipe: Recipe, target: str, steps: int) -> Recipe:
    """The same recipe with the measured model trained for this many steps."""
    data = recipe.plain()
    override(data, f"{length_key(target)}.steps={steps}")
    return Recipe.parse(data)


def training_of(recipe: Recipe, target: str) -> Any:
    """The training settings of the measured model."""
    if target == BASE:
        assert recipe.pretrain is not None
        return recipe.pretrain.training
    return getattr(recipe.finetune[target].settings, "training")  # noqa: B009  every method of text has one


def positions_per_step(recipe: Recipe, target: str) -> int:
    """Token positions per step: rows times context."""
    if target == BASE:
        assert recipe.pretrain is not None
        return recipe.pretrain.training.batch_rows * recipe.pretrain.context_length
    settings = recipe.finetune[target].settings
    return int(training_of(recipe, target).batch_rows * getattr(settings, "context_length"))  # noqa: B009


def with_seed(recipe: Recipe, number: int) -> Recipe:
    """The recipe under its `number`-th training seed, counted from 0. The data seed stays: runs pair."""
    return Recipe.parse({**recipe.plain(), "seed": recipe.seed + number})


def _arm(data: dict[str, Any], pairs: Sequence[tuple[str, str]]) -> Arm:
    mine = copy.deepcopy(data)
    several = [one for key, value in pairs for one in _keys(key, value)]
    sets = tuple(f"{key}={value}" for key, value in several)
    for item in sets:
        override(mine, item)
    short = [f"{key.rsplit('.', 1)[-1]}={value}" for key, value in several]
    return Arm(", ".join(short) or OWN, sets, Recipe.parse(mine))


def _keys(key: str, value: str) -> list[tuple[str, str]]:
    """A value in braces changes the keys that it names, and keeps the others."""
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        return [(key, value)]  # `override` reports the error
    if not isinstance(parsed, dict) or not parsed:
        return [(key, value)]
    return [one for name, inner in parsed.items() for one in _keys(f"{key}.{name}", _spelled(inner))]


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def varied_keys(arms: Sequence[Arm]) -> list[str]:
    """Every key that an arm changes."""
    return list(dict.fromkeys(item.partition("=")[0] for arm in arms for item in arm.sets))


def _told_apart(arms: list[Arm]) -> list[Arm]:
    """Arms of the same name (a value given twice, to test the bench) get a number."""
    names = [arm.name for arm in arms]
    return [
        replace(arm, name=f"{arm.name} ({names[:at].count(arm.name) + 1})") if arm.name in names[:at] else arm
        for at, arm in enumerate(arms)
    ]


def _split(listed: str) -> list[str]:
    """The values between commas outside brackets and quotes, as written."""
    found, depth, quote, begin = [], 0, "", 0
    for at, char in enumerate(listed):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "[{":
            depth += 1
        elif char in "]}":
            depth -= 1
        elif char == "," and not depth:
            found.append(listed[begin:at].strip())
            begin = at + 1
    return [*found, listed[begin:].strip()]
