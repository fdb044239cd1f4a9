"""Messages of a training run: steps, skipped updates, early stops; and the check of the initial loss."""

from __future__ import annotations

import time

from tutelage.store.errors import Interrupted, TrainingError
from tutelage.store.events import plain
from tutelage.training.data.position import row_numbers
from tutelage.training.meter import Meter
from tutelage.training.setup import Setup
from tutelage.training.signals import Stop
from tutelage.training.state import TrainingState

FIRST_LOSS_TOLERANCE = 0.1  # relative to the expected loss


class StepReport:
    """Adds step figures to the curve and the log every `log_every` steps, and to the log once a second."""

    def __init__(self, setup: Setup, meter: Meter) -> None:
        self.setup, self.meter = setup, meter
        self._last = time.monotonic()

    def step(self, state: TrainingState, figures: dict[str, float]) -> None:
        """Report step `state.step` (1-based here)."""
        now, step, steps = time.monotonic(), state.step, self.setup.steps
        on_curve = step % self.setup.config.log_every == 0 or step in (1, steps)
        if on_curve:
            state.result.curve.append(plain({"step": step, **figures}))
        if on_curve or now - self._last > 1:
            self._last = now
            self.setup.log.emit("step", step=step, total=steps, **figures, tokens=state.result.tokens,
                                **self.meter.speed())  # fmt: skip


def warn_of_skipped_step(setup: Setup, state: TrainingState) -> None:
    """One line for the terminal; the event's fields contain the row indices and the beginnings of their texts."""
    objective, config = setup.objective, setup.config
    numbers = row_numbers(objective.rows["train"].sources, state.data, config.batch_rows)
    describe = getattr(objective, "describe", None)
    setup.log.warn(
        f"step {state.step + 1}: {state.watch.why}; the update is skipped ({len(numbers)} rows, see events.jsonl)",
        step=state.step + 1, rows=numbers.tolist(), texts=describe(numbers) if describe else "",
    )  # fmt: skip


def tell_news(setup: Setup, state: TrainingState) -> None:
    """Log each new finding of the live rules once, as a warning."""
    for finding in state.history.news():
        setup.log.warn(f"step {state.step}: {finding.text}", step=state.step, rule=finding.name)


def stopped_on(setup: Setup, state: TrainingState) -> TrainingError | None:
    """The error that ends a run on a warning in `stop_on`; None if it may continue."""
    named = [name for name in state.history.said if name in setup.config.stop_on]
    if not named:
        return None
    return TrainingError(
        f"stopped at step {state.step} of {state.result.steps}, because of training.stop_on: {', '.join(named)}; the "
        "checkpoint is kept",
        hint="the same command without this stop_on resumes from here",
    )


def check_first_loss(loss: float, expected: float) -> None:
    """Raises TrainingError if the loss before the first update is far from the expected value of a new model."""
    if not abs(loss - expected) <= FIRST_LOSS_TOLERANCE * expected:
        raise TrainingError(
            f"the loss before the first update is {loss:.3f}, but {expected:.3f} is expected for a new model",
            hint="check the initialisation, the targets and the vocabulary size",
        )


def interrupted(stop: Stop, state: TrainingState) -> Interrupted:
    return Interrupted(
        f"stopped at step {state.step} of {state.result.steps}; the checkpoint is kept",
        hint="run the same command again to resume",
        signal=stop.number,
    )
