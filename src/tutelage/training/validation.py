"""Validation during training: when it is due, its figures, and which was the best."""

from __future__ import annotations

import math

from tutelage.store.events import plain
from tutelage.training.figures import evaluate_objective
from tutelage.training.optim.schedule_free import averaged
from tutelage.training.setup import Setup
from tutelage.training.state import TrainingState


def validation_due(setup: Setup, state: TrainingState) -> bool:
    """Whether validation is due; checked at the start of a step, so that a run resumed there validates exactly once."""
    every = setup.config.validate_every
    if not every or not state.step or state.step % every:
        return False
    return not any(point["step"] == state.step and "validation" in point for point in state.result.curve[-2:])


def validate(setup: Setup, state: TrainingState, limit: int) -> dict[str, float]:
    """Evaluate on `limit` rows (0: all), and add the figures to the curve and the log."""
    figures = evaluate(setup, limit)
    if figures:
        state.result.curve.append(plain({"step": state.step, "validation": figures}))
        setup.log.emit("validation", step=state.step, total=setup.steps, **figures)
        if limit == setup.config.validation_rows:  # always the same rows
            state.history.add_validation(state.step, figures)
    if (sample := getattr(setup.objective, "sample", None)) is not None and setup.world.size == 1:
        with averaged(setup.optimizers):
            sample(setup.model, state.step)
    return figures


def is_best(state: TrainingState, figures: dict[str, float]) -> bool:
    """Whether these figures are the best so far; if so, record them."""
    loss = figures.get("loss", math.inf)
    if not loss < state.result.best.get("loss", math.inf):
        return False
    state.result.best = {"step": state.step, "loss": loss}
    return True


def earlier_best(setup: Setup, state: TrainingState) -> int | None:
    """The step of the best validation, if it beats the last weights on the same rows."""
    is_best(state, evaluate(setup, setup.config.validation_rows))
    best = state.result.best
    return int(best["step"]) if best and best["step"] < state.step else None


def evaluate(setup: Setup, limit: int) -> dict[str, float]:
    rows = max(1, setup.config.batch_rows // setup.config.accumulation)
    with setup.autocast(), averaged(setup.optimizers):
        return evaluate_objective(setup.model, setup.objective, "validation", rows, limit, setup.world, setup.layout)
