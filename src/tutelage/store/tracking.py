"""Experiment trackers as listeners on the event log: trackio and Weights & Biases."""

from __future__ import annotations

import importlib
from typing import Any

from tutelage.store.errors import ConfigError

TRACKERS = ("trackio", "wandb")
WITH_FIGURES = ("step", "validation", "layers")  # kinds of event that hold figures of a step
LEFT_OUT = frozenset({"event", "time", "stage", "step", "total"})


def scalars(event: dict[str, Any]) -> dict[str, float]:
    """The figures of an event as `stage/name`; lists, one figure for each block, as `stage/blocks/3/name`.

    Empty for events without figures.
    """
    if event["event"] not in WITH_FIGURES:
        return {}
    stage = event.get("stage", "training")
    prefix = f"{stage}/validation_" if event["event"] == "validation" else f"{stage}/"
    found: dict[str, float] = {}
    for name, value in event.items():
        if name in LEFT_OUT:
            continue
        if isinstance(value, list):
            found |= {f"{stage}/blocks/{block}/{name}": float(figure) for block, figure in enumerate(value)}
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[f"{prefix}{name}"] = float(value)
    return found


class Tracker:
    """Sends every figure to a tracker, beside `stage/step`: each stage counts its own steps. Ends with the run.

    The destination and the account are configured in the tracker (wandb: WANDB_MODE, WANDB_API_KEY;
    trackio writes to this machine). Raises ConfigError for one that is not known or whose package is missing.
    """

    def __init__(self, kind: str, recipe: str, config: dict[str, Any]) -> None:
        if kind not in TRACKERS:
            raise ConfigError(f"--track {kind} is not known", hint=f"one of {', '.join(TRACKERS)}")
        try:
            self.module = importlib.import_module(kind)
        except ImportError:
            raise ConfigError(f"--track {kind} needs the package {kind!r}", hint=f"pip install {kind}") from None
        self.module.init(project="tutelage", name=recipe, config=config)

    def __call__(self, event: dict[str, Any]) -> None:
        if found := scalars(event):
            self.module.log({**found, f"{event.get('stage', 'training')}/step": int(event["step"])})
        elif event["event"] == "run_end":
            self.module.finish()
