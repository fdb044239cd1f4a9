"""Forecast of a run by stage: seconds with a range, memory, and expected metrics."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from tutelage.guidance.machine import Idle
from tutelage.store.config import Config
from tutelage.store.stage import Facts, Forecast, Machine, Range, StageSpec

LEFT = 4.5e7  # bytes that a stage leaves in the process: loaded modules and kernels, fragmentation
SHARED = 0.3  # correlation of the errors of two stages' forecasts
UNSTEADY = 0.25  # widening of both ends of a range per unit of load


class NodeLike(Protocol):
    """A stage of a recipe (`recipe.graph.Node`)."""

    @property
    def name(self) -> str: ...
    @property
    def spec(self) -> StageSpec: ...
    @property
    def config(self) -> Config: ...
    @property
    def inputs(self) -> Mapping[str, str]: ...
    @property
    def key(self) -> str: ...


def together(forecasts: Sequence[Forecast]) -> tuple[float, float]:
    """(low, high) of the sum of the known forecasts: part of the error comes from the machine and is common to all;
    the rest differs from stage to stage and partly cancels."""
    known = [one for one in forecasts if one.seconds is not None]
    middle = sum(one.seconds or 0.0 for one in known)
    below = _combined([max(0.0, (one.seconds or 0.0) - one.low) for one in known])
    above = _combined([max(0.0, one.high - (one.seconds or 0.0)) for one in known])
    return middle - below, middle + above


def _combined(errors: Sequence[float]) -> float:
    """Standard deviation of a sum whose parts have these, each two correlated by `SHARED`."""
    return math.sqrt((1 - SHARED) * sum(error**2 for error in errors) + SHARED * sum(errors) ** 2)


@dataclass(frozen=True)
class Outlook:
    """By stage name: the forecasts of stages that will run, and the facts of all."""

    forecasts: dict[str, Forecast] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)

    @property
    def seconds(self) -> dict[str, float]:
        return {name: round(one.seconds, 1) for name, one in self.forecasts.items() if one.seconds is not None}

    @property
    def kept(self) -> dict[str, dict[str, Any]]:
        """What a run stores for later comparison: [low, middle, high] of `seconds`, of `memory` (peak bytes of the
        process) and of metrics."""
        return {
            name: {
                **({"seconds": [one.low, one.seconds, one.high]} if one.seconds is not None else {}),
                **({"memory": list(one.memory_range)} if one.memory else {}),
                "metrics": {path: list(expected) for path, expected in one.expected.items()},
            }
            for name, one in self.forecasts.items()
        }

    @property
    def total(self) -> tuple[float, float]:
        """Seconds of all known forecasts, lower and upper end."""
        return together(list(self.forecasts.values()))

    @property
    def memory(self) -> float:
        """Bytes of the largest stage."""
        return self.memory_range[1]

    @property
    def memory_range(self) -> Range:
        """Bytes of the largest stage: low, middle, high."""
        return max((one.memory_range for one in self.forecasts.values()), default=(0.0, 0.0, 0.0))

    @property
    def unknown(self) -> list[str]:
        """Stages whose time is unknown until an earlier one is done."""
        return [name for name, one in self.forecasts.items() if one.seconds is None]


def look_ahead(
    nodes: Sequence[NodeLike],
    runs: Collection[str],
    made: Mapping[str, Mapping[str, Any]],
    machine: Machine,
    load: float = 0.0,
) -> Outlook:
    """Forecasts of the stages that run, in order.

    made: metrics of finished artifacts, which replace expected ones. load: runnable processes per CPU; a busy machine
    may become idle or busier, so ranges are wider.
    """
    outlook = Outlook()
    machine.process_memory()  # before speeds are measured, which also increases it
    left = 0.0
    for node in nodes:
        spec = node.spec
        inputs = {role: outlook.facts.get(name, {}) for role, name in node.inputs.items()}
        on = machine if node.name in runs else Idle()
        found = spec.forecast(node.config, inputs, on) if spec.forecast else Forecast()
        facts = dict(found.facts)
        if node.name in made and spec.result_facts:
            facts |= spec.result_facts(made[node.name])
        outlook.facts[node.name] = facts
        if node.name in runs:
            memory = found.memory + left if found.memory else 0.0
            left += LEFT
            outlook.forecasts[node.name] = widened(replace(found, memory=memory), load)
    return outlook


def widened(forecast: Forecast, load: float) -> Forecast:
    """The forecast with a wider range on a busy machine."""
    times = 1 + UNSTEADY * load
    return replace(forecast, low=forecast.low / times, high=forecast.high * times)
