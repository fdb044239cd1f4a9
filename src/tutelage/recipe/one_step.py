"""The recipe of one finetuning step on the user's own file: what `tutelage finetune METHOD FILE` runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.evaluation.spec import point_name
from tutelage.finetuning import method
from tutelage.recipe.config import BASE, Recipe, override
from tutelage.store.errors import ConfigError, nearest
from tutelage.store.events import EventLog
from tutelage.store.stage import StageSpec, Way

LARGE = 30e6  # parameters: above this, evaluation uses fewer questions, because each answer is slow
SHARES = (8, 4, 2)  # of the rows: an eighth, a quarter, half
_NAME = re.compile(r"[^A-Za-z0-9]+")


@dataclass(frozen=True)
class OwnRows:
    """The user's file as input of a step (`given`: settings of the step), and its number of training rows."""

    kind: str
    given: dict[str, Any]
    rows: int


def read_own_rows(
    kind: str, data: str, columns: Mapping[str, str], task: str | None = None, log: EventLog | None = None,
    target: str | None = None,
) -> OwnRows:  # fmt: skip
    """Read and check the file, before a model is downloaded or any long stage starts. `target`: the second file, for a
    method that reads two.

    Raises ConfigError for a wrong setting, InputError if the file cannot be used.
    """
    spec = method(kind)
    given: dict[str, Any] = {"data": data, "task": task, "columns": dict(columns)}
    if target is not None:
        if "target_file" not in spec.config.model_fields:
            raise ConfigError(f"{kind} reads one file", hint="--target goes with `tutelage finetune translate`")
        given["target_file"] = target
    given = {key: value for key, value in given.items() if value}
    if spec.settings_for:
        given |= spec.settings_for(spec.config.parse(given, kind))
    rows = spec.audit(spec.config.parse(given, kind), log or EventLog()) if spec.audit else None
    return OwnRows(kind, given, rows or 0)


def one_step_recipe(
    own: OwnRows, source: str, parameters: int, longest: int, sets: Sequence[str] = (), name: str = "",
    ways: Sequence[str] = (), curve: bool = False,
) -> Recipe:  # fmt: skip
    """A recipe with a step for each option that suits the rows and the model (or each of `ways`); `sets` override.

    curve: also with a step for each share of the rows (`SHARES`), for every option.

    source: the model, as `base.source` has it; `parameters` and `longest` (tokens of context) are its own. A key of
    `sets` is one of the recipe or, shorter, one of the steps (`training.epochs=3`). Raises ConfigError for a wrong key.
    """
    spec = method(own.kind)
    steps: dict[str, Any] = {}
    for way, settings in _ways(spec, parameters, own.rows, ways).items():
        step = {"method": own.kind, "from": BASE, **settings, **own.given}
        if step["from"] not in (BASE, *steps):
            step["from"] = BASE  # the step it would start from is not among the ways
        if "context_length" in step:
            step["context_length"] = min(step["context_length"], longest)
        steps[way] = step
        if curve and "share" not in spec.config.model_fields:
            raise ConfigError(f"there is no learning curve of {own.kind}", hint="tutelage finetune classify FILE ...")
        for part in SHARES if curve else ():
            begins = BASE if step["from"] == BASE else point_name(step["from"], part)
            steps[point_name(way, part)] = {**step, "from": begins, "share": 1 / part}
    recipe: dict[str, Any] = {
        "name": name or _run_name(own.kind, own.given["data"]),
        "base": {"source": source},
        "finetune": steps,
    }
    if parameters > LARGE:
        recipe["evaluate"] = {"prompts": 40, "max_tokens": 64, "samples": 6, "sampled": 20, "loss_rows": 100}
    for item in sets:
        first = item.partition("=")[0].split(".")[0].strip()
        if first not in spec.config.model_fields and first not in Recipe.model_fields:
            raise ConfigError(f"--set {item}: there is no setting {first!r}",
                              hint=nearest(first, {*spec.config.model_fields, *Recipe.model_fields}))  # fmt: skip
        inside = first in spec.config.model_fields and first not in Recipe.model_fields
        for key in [f"finetune.{step}.{item}" for step in steps] if inside else [item]:
            override(recipe, key)
    return Recipe.parse(recipe)


def _ways(spec: StageSpec, parameters: int, rows: int, wanted: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The settings of the requested ways. Raises ConfigError for one that the method does not have."""
    known = spec.suggest(parameters, rows) if spec.suggest else {spec.kind: Way()}
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigError(f"{spec.kind} has no way {unknown[0]!r}", hint=nearest(unknown[0], known))
    return {name: way.settings for name, way in known.items() if (name in wanted if wanted else way.default)}


def _run_name(kind: str, what: str) -> str:
    stem = _NAME.sub("-", Path(what).name.split(".")[0]).strip("-").lower()
    return f"{stem}-{kind}" if stem else kind


def parse_columns(given: Sequence[str]) -> dict[str, str]:
    """`text=body` -> {"text": "body"}. Raises ConfigError for anything else."""
    found = {}
    for item in given:
        ours, equals, theirs = item.partition("=")
        if not equals or not ours.strip() or not theirs.strip():
            raise ConfigError(f"--column {item!r} is not of the form OURS=THEIRS", hint="e.g. --column text=body")
        found[ours.strip()] = theirs.strip()
    return found
