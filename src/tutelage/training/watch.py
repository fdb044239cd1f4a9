"""Spike detection: which steps are applied, which are skipped, and when to roll back."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tutelage.store.errors import TrainingError

WINDOW = 128  # steps of the reference window
ENOUGH = 32  # minimum number of steps in it
FLOOR = 0.002  # minimum deviation relative to the median, for flat curves
NOT_FINITE_IN_A_ROW = 5

Decision = Literal["go", "skip", "roll back"]


@dataclass
class Watch:
    """Judges each step by the last ones; its state is saved in the checkpoint, so a resumed run decides the same.

    A loss or gradient norm is a spike above median + sigma * 1.4826 * MAD of the last 128 (sigma 0: never): the update
    is skipped. After `patience` consecutive ones the weights are assumed to be bad.
    """

    sigma: float
    patience: int
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    above: int = 0  # consecutive spikes
    not_finite: int = 0  # steps in a row
    bad: int = 0  # consecutive steps with either
    why: str = ""

    def judge(self, loss: float, norm: float) -> Decision:
        """Decide on a step before its update; `why` gives the reason. Raises TrainingError if rollbacks do not help."""
        self.why = ""
        self.bad += 1
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.why = "loss or gradient is not finite"
            self.not_finite += 1
            if self.not_finite >= NOT_FINITE_IN_A_ROW:
                raise TrainingError(
                    f"the loss was not finite in {self.not_finite} consecutive steps",
                    hint="lower learning_rate or check the data",
                )
            return "skip"
        self.not_finite = 0
        limits = threshold(self.losses, self.sigma), threshold(self.norms, self.sigma)
        self.losses, self.norms = [*self.losses, loss][-WINDOW:], [*self.norms, norm][-WINDOW:]
        if loss > limits[0]:
            self.why = f"loss {loss:.3f} is above {limits[0]:.3f}, {self.sigma:g} robust deviations over the last steps"
        elif norm > limits[1]:
            self.why = f"gradient norm {norm:.3g} is above {limits[1]:.3g}, {self.sigma:g} robust deviations"
        self.above = self.above + 1 if self.why else 0
        self.bad = self.bad if self.why else 0
        if self.above >= self.patience:
            self.why += f", the last of {self.bad} consecutive bad steps"
            return "roll back"
        return "skip" if self.why else "go"

    def state(self) -> dict[str, Any]:
        return asdict(self)

    def load(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def threshold(values: list[float], sigma: float) -> float:
    """The spike threshold: median + sigma * 1.4826 * MAD; infinite before there are enough steps."""
    if not sigma or len(values) < ENOUGH:
        return math.inf
    middle = statistics.median(values)
    deviation = 1.4826 * statistics.median(abs(value - middle) for value in values)
    return middle + sigma * max(deviation, FLOOR * abs(middle))
