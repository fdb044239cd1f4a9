"""The training loop, shared by all objectives, which define the meaning of batches and losses."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tutelage.model.decoder import DecoderLM
from tutelage.store.device import return_freed_memory
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_text
from tutelage.training.blocks import prepared
from tutelage.training.checkpoint.folder import BEST, ROLLBACK
from tutelage.training.config import TrainingConfig
from tutelage.training.data.batch import Batch
from tutelage.training.data.loader import Loader
from tutelage.training.distributed.parallel import gather_model, sum_expert_loads
from tutelage.training.distributed.world import lost_rank_errors
from tutelage.training.figures import figures_of
from tutelage.training.gradient import step_gradient
from tutelage.training.layers import LayerFigures
from tutelage.training.meter import Meter
from tutelage.training.objective import Objective, OnPolicy
from tutelage.training.optim.schedule_free import keep_average
from tutelage.training.optim.schedules import learning_rate
from tutelage.training.recovery import Recovery
from tutelage.training.reports import (
    StepReport,
    check_first_loss,
    interrupted,
    stopped_on,
    tell_news,
    warn_of_skipped_step,
)
from tutelage.training.setup import Setup, set_up, total_steps
from tutelage.training.signals import Stop, stop_requested
from tutelage.training.state import TrainingState, TrainResult
from tutelage.training.tune import chosen
from tutelage.training.validation import earlier_best, is_best, validate, validation_due

__all__ = ["TrainResult", "total_steps", "train"]


def train(
    model: DecoderLM,
    objective: Objective,
    config: TrainingConfig,
    work: Path,
    log: EventLog,
    seed: int,
    first_loss: float | None = None,
    data_seed: int | None = None,
) -> TrainResult:
    """Train the non-frozen weights of `model` in place; a killed run resumes bit for bit from `work/checkpoints`.

    The gradient is divided by the weight of the full step, over its microbatches (`accumulation`) and all ranks, so
    that they add up exactly. Every rank calls this with the same arguments and ends with the same model. `data_seed`
    (None: the same as `seed`) sets the order of the data, `seed` all other randomness (dropout). `first_loss`: expected
    initial loss (ln V for a new model). Raises TrainingError for a persistent non-finite loss, spikes that recur after
    rollbacks, an unexpected initial loss, or a warning of `stop_on`; Interrupted after SIGINT/SIGTERM (a checkpoint is
    written first); ConfigError if `work` contains another run's checkpoints.
    """
    setup = set_up(model, objective, config, work, log, seed, seed if data_seed is None else data_seed)
    loop = _Loop(setup, first_loss)
    with lost_rank_errors(setup.world), prepared(setup.model, setup.config):
        loop.recovery.resume()
        with contextlib.closing(loop.loader), loop.recovery.writing(), stop_requested() as stop:
            if (error := stopped_on(setup, loop.state)) is not None:  # resumed at the step where it was stopped
                raise error
            while not loop.state.finished:
                loop.validate_and_mark()
                loop.step(stop)
                loop.roll_back_stop_or_save(stop)
                loop.stop_where_asked()
            loop.finish(stop)
    result = loop.state.result
    result.warned = loop.state.history.said
    result.timing = loop.meter.timing() | chosen(config, setup.config)
    gather_model(model, setup.model, setup.layout)
    model.eval()
    del loop, setup  # also frees the optimizer states
    return_freed_memory()
    return result


class _Loop:
    """The parts of one iteration of the loop, in order."""

    def __init__(self, setup: Setup, first_loss: float | None) -> None:
        self.setup, self.first_loss = setup, first_loss
        config, rows = setup.config, setup.objective.rows["train"]
        self.state = TrainingState.at_start(config, setup.steps, setup.data_seed, setup.average)
        self.recovery = Recovery(setup, self.state)
        self.loader = Loader(rows, config, setup.layout, setup.device)
        self.meter = Meter(setup.model.config, rows.length, config, setup.steps, setup.device, setup.dtype,
                           setup.world.size, setup.log)  # fmt: skip
        self.report = StepReport(setup, self.meter)
        self.decision, self.total = "go", dict[str, float]()  # per step: decision of the watch, sums over all ranks

    def validate_and_mark(self) -> None:
        """Validate if due, and save checkpoints that may be needed for a rollback or as the best."""
        setup, state, marks = self.setup, self.state, set[str]()
        if validation_due(setup, state) and is_best(state, validate(setup, state, setup.config.validation_rows)):
            marks.add(BEST)
        if setup.config.spike_sigma and state.step % setup.config.rollback_every == 0 and not state.watch.bad:
            marks.add(ROLLBACK)
        if marks:
            self.recovery.save(marks)

    def step(self, stop: Stop) -> None:
        """One batch and one update, unless the watch skips it."""
        setup, state, config = self.setup, self.state, self.setup.config
        self._seed_step()
        batches = self._microbatches()
        layers = (
            LayerFigures(setup.model) if config.layers_every and (state.step + 1) % config.layers_every == 0 else None
        )
        with layers.activations() if layers and not config.compile else contextlib.nullcontext():
            self.total, norm = step_gradient(
                setup.model, setup.objective, batches, config.grad_clip,
                setup.autocast(), setup.world, setup.layout,
                lambda: {"stop": bool(stop), "save": self.recovery.due()},
            )  # fmt: skip
        figures = figures_of(self.total)
        if state.step == 0 and self.first_loss is not None:
            check_first_loss(figures["loss"], self.first_loss)
        rate = learning_rate(config, state.step, setup.steps)
        self.decision = state.watch.judge(figures["loss"], norm)
        if self.decision == "go":
            self._update(rate, layers)
            state.history.add_step(figures)
        else:
            state.result.skipped.append(state.step)
            setup.model.end_of_step(taken=False)
            warn_of_skipped_step(setup, state)
        for optimizer in setup.optimizers:
            optimizer.zero_grad(set_to_none=True)
        tokens = round(self.total["tokens"])
        state.data.sample += config.batch_rows
        state.step += 1
        state.result.tokens += tokens
        self.meter.step(tokens, setup.steps - state.step)
        self.report.step(state, {**figures, "lr": rate, "grad_norm": norm})
        tell_news(setup, state)  # before the checkpoint, so that a resumed run does not repeat warnings

    def stop_where_asked(self) -> None:
        """On a warning in `stop_on`: save a checkpoint and raise TrainingError."""
        if (error := stopped_on(self.setup, self.state)) is not None:
            self.recovery.save_and_wait()
            raise error

    def _microbatches(self) -> Iterator[Batch]:
        """Batches of the rows at this data position, or of rows that an on-policy objective samples now."""
        setup, data = self.setup, self.state.data
        if isinstance(setup.objective, OnPolicy):
            return self.loader.made(setup.objective.collect(setup.model, data, setup.autocast))
        return self.loader.microbatches(data)

    def _seed_step(self) -> None:
        """Seed dropout per step, so that a resumed run draws the same numbers."""
        rank = self.setup.layout.data_rank
        draw = f"{self.setup.seed}:{self.state.step}" + (f":{rank}" if rank else "")
        torch.manual_seed(int(sha256_text(draw)[:15], 16))

    def _update(self, rate: float, layers: LayerFigures | None) -> None:
        setup, state = self.setup, self.state
        if layers:
            layers.before_update()
        for optimizer in setup.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("rate_factor", 1.0)
            optimizer.step()
        sum_expert_loads(setup.model, setup.layout)
        setup.model.end_of_step()
        setup.average.update(state.step, setup.steps)
        if layers:
            figures: dict[str, Any] = layers.after_update()
            if pipeline := setup.layout.pipeline:  # each stage reports its own blocks and zeros for the others
                figures = {name: pipeline.sums(values) for name, values in figures.items()}
            setup.log.emit("layers", step=state.step + 1, **figures)

    def roll_back_stop_or_save(self, stop: Stop) -> None:
        """Roll back, save a checkpoint or stop, depending on the step's figures, signals and the clock."""
        if self.decision == "roll back":
            self.recovery.roll_back()
        if self.total["stop"]:
            self.recovery.save_and_wait()
            raise interrupted(stop, self.state)
        if not self.state.finished and self.total["save"] and self.decision != "roll back":
            self.recovery.save()

    def finish(self, stop: Stop) -> None:
        """Write the last checkpoint, select the final weights, and validate them."""
        setup, state = self.setup, self.state
        if state.data.sample > 0:
            self.recovery.save()
        if setup.config.use_best and (step := earlier_best(setup, state)) is not None:
            self.recovery.load_best(step)
        setup.average.apply()
        state.result.final = validate(setup, state, 0)
        keep_average(setup.optimizers)
        if not math.isfinite(state.result.final.get("loss", 0.0)):
            setup.log.warn("the last validation loss is not finite: these weights are unusable")
        if setup.world.sums([float(bool(stop))])[0]:
            self.recovery.writer.wait()
            raise interrupted(stop, state)
