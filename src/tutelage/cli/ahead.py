"""What is known of a recipe before anything runs: its plan, its forecast, and advice."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage.guidance.forecast import Outlook
    from tutelage.guidance.machine import ThisMachine
    from tutelage.guidance.rules import Advice
    from tutelage.recipe.config import Recipe
    from tutelage.recipe.plan import Planned


@dataclass(frozen=True)
class Ahead:
    """What is known before anything runs."""

    planned: list[Planned]
    outlook: Outlook
    advice: list[Advice]

    def plain(self) -> dict[str, Any]:
        def range_of(name: str) -> list[float] | None:
            one = self.outlook.forecasts.get(name)
            return None if one is None or one.seconds is None else [round(one.low, 1), round(one.high, 1)]

        def memory_of(name: str) -> int | None:
            one = self.outlook.forecasts.get(name)
            return round(one.memory) if one and one.memory else None

        def memory_range_of(name: str) -> list[int] | None:
            one = self.outlook.forecasts.get(name)
            return [round(one.memory_range[0]), round(one.memory_range[2])] if one and one.memory else None

        def metrics_of(name: str) -> dict[str, list[float]]:
            one = self.outlook.forecasts.get(name)
            return {path: list(told) for path, told in one.expected.items()} if one else {}

        stages = [
            {"stage": state.stage, "status": state.status, "identity": state.identity, "why": state.why,
             "forecast_seconds": self.outlook.seconds.get(state.stage), "forecast_range": range_of(state.stage),
             "forecast_memory_bytes": memory_of(state.stage),
             "forecast_memory_range": memory_range_of(state.stage), "forecast_metrics": metrics_of(state.stage)}
            for state in self.planned
        ]  # fmt: skip
        return {
            "stages": stages,
            "forecast_seconds": round(sum(self.outlook.seconds.values()), 1),
            "forecast_range": [round(value, 1) for value in self.outlook.total],
            "forecast_memory_bytes": round(self.outlook.memory),
            "forecast_memory_range": [round(self.outlook.memory_range[at]) for at in (0, 2)],
            "advice": [asdict(item) for item in self.advice],
        }


def look_ahead(recipe: Recipe, root: Path, targets: tuple[str, ...] = ()) -> Ahead:
    """Plan, forecast and advice for a recipe. Wrong input (a missing corpus, say) is found here."""
    from tutelage.guidance import forecast
    from tutelage.guidance.machine import load
    from tutelage.guidance.rules import advise
    from tutelage.recipe.plan import plan
    from tutelage.store.artifacts import ArtifactStore

    planned = plan(recipe, ArtifactStore(root), targets)
    nodes = [state.node for state in planned]
    runs = {state.stage for state in planned if state.status in ("run", "damaged", "unknown")}
    made = {state.stage: state.artifact.metrics for state in planned if state.artifact}
    busy = load()  # before measuring, which itself adds load
    outlook = forecast.look_ahead(nodes, runs, made, this_machine(root), busy)
    return Ahead(planned, outlook, advise(nodes, outlook))


def this_machine(root: Path) -> ThisMachine:
    """This machine; timings are cached below `root` if that is writable."""
    from tutelage.guidance.machine import ThisMachine

    return ThisMachine(None if os.environ.get("TUTELAGE_READ_ONLY") else root)


def advice_on(recipe: Recipe, root: Path) -> list[Advice]:
    """What the rules of thumb say about a recipe. Nothing is timed for this."""
    from tutelage.guidance import forecast
    from tutelage.guidance.machine import Idle
    from tutelage.guidance.rules import advise
    from tutelage.recipe.plan import plan
    from tutelage.store.artifacts import ArtifactStore

    planned = plan(recipe, ArtifactStore(root))
    nodes = [state.node for state in planned]
    made = {state.stage: state.artifact.metrics for state in planned if state.artifact}
    return advise(nodes, forecast.look_ahead(nodes, (), made, Idle()))
