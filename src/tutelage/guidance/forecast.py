"""What a life will take, stage by stage, before it is run: seconds with a range, memory, and what will be known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tutelage.guidance.machine import Idle
from tutelage.store.config import Config
from tutelage.store.stage import Facts, Forecast, Machine, StageSpec


class NodeLike(Protocol):
    """A stage of a life (`recipe.graph.Node`)."""

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


@dataclass(frozen=True)
class Outlook:
    """By name of stage: the forecasts of those that will run, and the facts of all."""

    forecasts: dict[str, Forecast] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)

    @property
    def seconds(self) -> dict[str, float]:
        return {name: round(one.seconds, 1) for name, one in self.forecasts.items() if one.seconds is not None}

    @property
    def total(self) -> tuple[float, float]:
        """Seconds of all that can be told, at the least and at the most."""
        told = [one for one in self.forecasts.values() if one.seconds is not None]
        return sum(one.low for one in told), sum(one.high for one in told)

    @property
    def memory(self) -> float:
        """Bytes of the largest stage."""
        return max((one.memory for one in self.forecasts.values()), default=0.0)

    @property
    def unknown(self) -> list[str]:
        """Stages whose time cannot be told before an earlier one is done."""
        return [name for name, one in self.forecasts.items() if one.seconds is None]


def look_ahead(
    nodes: Sequence[NodeLike], runs: Collection[str], made: Mapping[str, Mapping[str, Any]], machine: Machine
) -> Outlook:
    """Forecasts of the stages that run, in the order of the life.

    made: metrics of the finished artifacts, which take the place of what was only expected of them.
    """
    outlook = Outlook()
    for node in nodes:
        spec = node.spec
        inputs = {role: outlook.facts.get(name, {}) for role, name in node.inputs.items()}
        asked = machine if node.name in runs else Idle()
        found = spec.forecast(node.config, inputs, asked) if spec.forecast else Forecast()
        facts = dict(found.facts)
        if node.name in made and spec.result_facts:
            facts |= spec.result_facts(made[node.name])
        outlook.facts[node.name] = facts
        if node.name in runs:
            outlook.forecasts[node.name] = found
    return outlook
