"""The training state: the non-tensor part of a checkpoint, and the final result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tutelage.training.config import TrainingConfig
from tutelage.training.data.position import DataState
from tutelage.training.live_rules import History
from tutelage.training.optim.averaging import WeightAverage
from tutelage.training.watch import Watch


@dataclass
class TrainResult:
    """The result of training besides the weights. `curve` contains no times, so equal runs have equal curves.

    warned: names of the live rules that fired. skipped: steps (0-based) whose update was skipped. rollbacks: from which
    step to which, and why. best: step and loss of the lowest validation.
    """

    steps: int
    tokens: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)
    final: dict[str, float] = field(default_factory=dict)
    warned: list[str] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    rollbacks: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)


@dataclass
class TrainingState:
    """Next step (0-based), data position, the watch, and the result so far."""

    result: TrainResult
    data: DataState
    watch: Watch
    average: WeightAverage
    history: History = field(default_factory=History)
    step: int = 0

    @classmethod
    def at_start(cls, config: TrainingConfig, steps: int, data_seed: int, average: WeightAverage) -> TrainingState:
        watch = Watch(config.spike_sigma, config.spike_patience)
        return cls(TrainResult(steps), DataState(data_seed), watch, average)

    @property
    def finished(self) -> bool:
        return self.step >= self.result.steps

    def record(self) -> dict[str, Any]:
        """The state as JSON-ready data; the writer adds the step."""
        result = self.result
        return {"sample": self.data.sample, "tokens": result.tokens, "curve": result.curve, "best": result.best,
                "skipped": result.skipped, "rollbacks": result.rollbacks, "watch": self.watch.state(),
                "history": self.history.state(), "averaged": self.average.count}  # fmt: skip

    def restore(self, record: dict[str, Any]) -> None:
        result = self.result
        self.step, self.data.sample, self.average.count = int(record["step"]), record["sample"], record["averaged"]
        result.tokens, result.curve, result.best = record["tokens"], record["curve"], record["best"]
        result.skipped, result.rollbacks = record["skipped"], record["rollbacks"]
        self.watch.load(record["watch"])
        self.history.load(record.get("history", {}))
