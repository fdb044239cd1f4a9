"""The one training loop. It knows batches, losses and steps; what they mean is the objective's business."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tutelage.model.decoder import DecoderLM
from tutelage.store.device import choose_device, choose_precision, set_threads
from tutelage.store.errors import ConfigError, DamagedError, Interrupted, TrainingError
from tutelage.store.events import EventLog, plain
from tutelage.store.hashing import sha256_text
from tutelage.training.blocks import prepared
from tutelage.training.checkpoint.checkpoint import (
    BEST,
    LASTING,
    CheckpointWriter,
    load_latest,
    load_step,
    trained_state,
)
from tutelage.training.checkpoint.fingerprint import fingerprint
from tutelage.training.config import TrainingConfig
from tutelage.training.data.loader import Loader
from tutelage.training.data.position import DataState, row_numbers
from tutelage.training.distributed.parallel import Layout, arrange, collect, spread, sum_expert_loads
from tutelage.training.distributed.world import current_world, losses_named
from tutelage.training.figures import evaluate_objective, figures_of
from tutelage.training.float8 import check_float8
from tutelage.training.gradient import step_gradient
from tutelage.training.layers import LayerFigures
from tutelage.training.meter import Meter
from tutelage.training.objective import Objective
from tutelage.training.optim.averaging import WeightAverage
from tutelage.training.optim.optimizers import freeze, make_optimizers
from tutelage.training.optim.schedule_free import averaged, keep_average
from tutelage.training.optim.schedules import learning_rate
from tutelage.training.signals import Stop, stop_requested
from tutelage.training.tune import chosen, tuned
from tutelage.training.watch import Watch


@dataclass
class TrainResult:
    """What a run leaves beside its weights. `curve` holds no times, so equal runs have equal curves.

    skipped: steps (0-based) that were not taken. rollbacks: from which step to which, and why. best: step and loss of
    the lowest validation.
    """

    steps: int
    tokens: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)
    final: dict[str, float] = field(default_factory=dict)
    skipped: list[int] = field(default_factory=list)
    rollbacks: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)


def total_steps(config: TrainingConfig, rows: int) -> int:
    return config.steps or max(1, round(config.epochs * rows / config.batch_rows))


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
    """Train what is not frozen of `model`, in place; a killed run goes on from `work/checkpoints`, bit for bit.

    The gradient is divided by the weight of the whole step, over its parts (`accumulation`) and all processes, so
    that they add up exactly. Every process of a run calls this with the same arguments and ends with the same model.
    `data_seed` (None: the same as `seed`) decides the order of the data, `seed` everything else that is drawn (dropout).
    `first_loss`: what the loss must be close to before anything is learned (ln V of a fresh model).
    Raises TrainingError for a non-finite loss that stays, spikes that come back after roll backs, or a first loss far
    off; Interrupted after SIGINT/SIGTERM (a checkpoint is written first); ConfigError if `work` holds another run's
    checkpoints.
    """
    run = _Run(model, objective, config, work, log, seed, first_loss, seed if data_seed is None else data_seed)
    with losses_named(run.world), prepared(run.model, run.config):
        run.begin()
        with contextlib.closing(run.loader), run.writer, stop_requested() as stop:
            while run.step < run.steps:
                run.before_step()
                run.take_step(stop)
                run.after_step(stop)
            run.end(stop)
    result = run.result
    result.timing = run.meter.timing() | chosen(config, run.config)
    collect(model, run.model, run.layout)
    model.eval()
    return result


class _Run:
    """The state of one training run; its methods are the parts of the loop, in order."""

    def __init__(
        self, model: DecoderLM, objective: Objective, config: TrainingConfig, work: Path, log: EventLog, seed: int,
        first_loss: float | None, data_seed: int,
    ) -> None:  # fmt: skip
        self.objective, self.log, self.seed, self.first_loss = objective, log, seed, first_loss
        self.world = current_world()
        self.steps = total_steps(config, len(objective.rows["train"]))
        self.config = config = tuned(model, objective, config, self.steps, data_seed, work, self.world, log)
        set_threads(config.threads, self.world.local_size)
        device = choose_device(config.device)
        dtype = choose_precision(config.precision, device)
        self.autocast: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if dtype != torch.float32:
            self.autocast = torch.autocast(device.type, dtype)
        self.layout = arrange(config.parallel, self.world, device)
        _check_shares(config, self.layout)
        freeze(model, config.freeze_blocks)
        self.identity = fingerprint(objective, config, model, seed, data_seed)
        if float8 := config.precision == "float8":
            check_float8(device)
        self.model = spread(model, self.layout, device, dtype, float8)
        self.model.train()
        self.optimizers = make_optimizers(self.model, config)
        self.average = WeightAverage(self.model, config)
        self.watch = Watch(config.spike_sigma, config.spike_patience)
        self.position = DataState(data_seed)
        self.result = TrainResult(self.steps)
        self.step = 0
        self.checkpoints = work / "checkpoints"
        self.writer = CheckpointWriter(self.checkpoints, config.keep_checkpoints, self.world, self.layout)
        self.loader = Loader(objective.rows["train"], config, self.layout, device)
        rows = objective.rows["train"]
        self.meter = Meter(model.config, rows.length, config, self.steps, device, dtype, self.world.size, log)
        self.last_save = self.last_log = time.monotonic()
        self.decision, self.wanted = "go", {"stop": 0.0, "save": 0.0}

    def begin(self) -> None:
        """Go on from the newest whole checkpoint, if there is one."""
        if not self.checkpoints.exists():
            return
        fresh = {name: value.clone() for name, value in trained_state(self.model).items()}
        saved = load_latest(self.checkpoints, self.model, self.optimizers, self.identity, self.log, self.world,
                            self.average.tensors())  # fmt: skip
        self.writer.look()
        if saved is None:
            self.model.load_state_dict(fresh, strict=False)
        else:
            self._restore(saved)
            self.log.note(f"going on from step {self.step} of {self.steps}")

    def before_step(self) -> None:
        """Validate where it is due, and keep the weights that may be needed again."""
        marks = set()
        if _validation_due(self.config, self.step, self.result):
            loss = self.validate(self.config.validation_rows).get("loss", math.inf)
            if loss < self.result.best.get("loss", math.inf):
                self.result.best = {"step": self.step, "loss": loss}
                marks.add(BEST)
        if self.config.spike_sigma and self.step % self.config.rollback_every == 0 and not self.watch.bad:
            marks.add(LASTING)
        if marks:
            self.save(marks)

    def take_step(self, stop: Stop) -> None:
        """One batch, one update, unless the watch is against it."""
        config, step = self.config, self.step
        # Dropout draws from the step's own numbers: a resumed run draws the same.
        draw = f"{self.seed}:{step}:{self.layout.row}" if self.layout.row else f"{self.seed}:{step}"
        torch.manual_seed(int(sha256_text(draw)[:15], 16))
        looked_into = (
            LayerFigures(self.model) if config.layers_every and (step + 1) % config.layers_every == 0 else None
        )
        with looked_into.activations() if looked_into and not config.compile else contextlib.nullcontext():
            total, norm = step_gradient(
                self.model, self.objective, self.loader.parts(self.position), config.grad_clip, self.autocast,
                self.world, self.layout, lambda: self._wishes(stop),
            )  # fmt: skip
        figures = figures_of(total)
        if step == 0 and self.first_loss is not None:
            _check_first_loss(figures["loss"], self.first_loss)
        rate = learning_rate(config, step, self.steps)
        self.decision, self.wanted = self.watch.judge(figures["loss"], norm), total
        if self.decision == "go":
            self._update(rate, looked_into)
        else:
            self.result.skipped.append(step)
            self.model.end_of_step(taken=False)
            rows = _rows_of(self.objective, self.position, config)
            self.log.warn(f"step {step + 1}: {self.watch.why}; the update is skipped. {rows}")
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.position.sample += config.batch_rows
        self.step += 1
        self.result.tokens += round(total["tokens"])
        self.meter.step(round(total["tokens"]), self.steps - self.step)
        self._tell({**figures, "lr": rate, "grad_norm": norm})

    def after_step(self, stop: Stop) -> None:
        """Go back, stop or save, where it is time to."""
        if self.decision == "roll back":
            self._go_back()
        if self.wanted["stop"]:
            self.save()
            self.writer.wait()
            raise _interrupted(stop, self.step, self.steps)
        if self.step < self.steps and self.wanted["save"] and self.decision != "roll back":
            self.save()

    def end(self, stop: Stop) -> None:
        """The last checkpoint, the weights that are kept, and what they reach."""
        if self.position.sample > 0 and self.steps > 0:
            self.save()
        if self.config.use_best and self._best_lies_behind():
            self.writer.wait()
            try:
                load_step(self.checkpoints, int(self.result.best["step"]), self.model, self.optimizers, self.identity,
                          self.average.tensors())  # fmt: skip
            except DamagedError as error:
                self.log.warn(f"{error.message}; the last weights are kept instead of the best")
        self.average.apply()
        self.result.final = self.validate(0)
        keep_average(self.optimizers)
        if not math.isfinite(self.result.final.get("loss", 0.0)):
            self.log.warn("the last validation loss is not finite: these weights are of no use")
        if self.world.sums([float(bool(stop))])[0]:
            self.writer.wait()
            raise _interrupted(stop, self.step, self.steps)

    def _best_lies_behind(self) -> bool:
        """Whether an earlier validation was better than the last weights are on the same rows."""
        last = self._evaluate(self.config.validation_rows).get("loss", math.inf)
        if last < self.result.best.get("loss", math.inf):
            self.result.best = {"step": self.step, "loss": last}
        return bool(self.result.best) and self.result.best["step"] < self.step

    def validate(self, limit: int) -> dict[str, float]:
        figures = self._evaluate(limit)
        if figures:
            self.result.curve.append(plain({"step": self.step, "validation": figures}))
            self.log.emit("validation", step=self.step, total=self.steps, **figures)
        return figures

    def _evaluate(self, limit: int) -> dict[str, float]:
        rows = max(1, self.config.batch_rows // self.config.accumulation)
        with self.autocast, averaged(self.optimizers):
            return evaluate_objective(self.model, self.objective, "validation", rows, limit, self.world, self.layout)

    def save(self, marks: set[str] | None = None) -> None:
        result = self.result
        record = {"sample": self.position.sample, "tokens": result.tokens, "curve": result.curve, "best": result.best,
                  "skipped": result.skipped, "rollbacks": result.rollbacks, "watch": self.watch.state(),
                  "averaged": self.average.count, "fingerprint": self.identity}  # fmt: skip
        self.writer.save(self.step, self.model, self.optimizers, record, self.average.tensors(), marks or set())
        self.last_save = time.monotonic()

    def _restore(self, saved: dict[str, Any]) -> None:
        result = self.result
        self.step, self.position.sample, self.average.count = int(saved["step"]), saved["sample"], saved["averaged"]
        result.tokens, result.curve, result.best = saved["tokens"], saved["curve"], saved["best"]
        result.skipped, result.rollbacks = saved["skipped"], saved["rollbacks"]
        self.watch.load(saved["watch"])

    def _wishes(self, stop: Stop) -> dict[str, float]:
        """What this process would like; all of them are asked in one exchange."""
        return {"stop": bool(stop), "save": time.monotonic() - self.last_save >= self.config.checkpoint_seconds}

    def _update(self, rate: float, looked_into: LayerFigures | None) -> None:
        if looked_into:
            looked_into.before_update()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("rate_factor", 1.0)
            optimizer.step()
        sum_expert_loads(self.model, self.layout)
        self.model.end_of_step()
        self.average.update(self.step, self.steps)
        if looked_into:
            looks = looked_into.after_update()
            if line := self.layout.line:  # each stage sees its own blocks, zeros for the others
                looks = {name: line.sums(figures) for name, figures in looks.items()}
            self.log.emit("layers", step=self.step + 1, **looks)

    def _tell(self, figures: dict[str, float]) -> None:
        now = time.monotonic()
        logged = self.step % self.config.log_every == 0 or self.step in (1, self.steps)
        if logged:
            self.result.curve.append(plain({"step": self.step, **figures}))
        if logged or now - self.last_log > 1:
            self.last_log = now
            self.log.emit("step", step=self.step, total=self.steps, **figures, tokens=self.result.tokens,
                          **self.meter.speed())  # fmt: skip

    def _go_back(self) -> None:
        """To weights from before the trouble, but on in the data: what lies between is never seen again."""
        config, step, why = self.config, self.step, self.watch.why
        rollbacks, sample, tokens = self.result.rollbacks, self.position.sample, self.result.tokens
        if len(rollbacks) >= config.max_rollbacks:
            raise TrainingError(
                f"{why} at step {step}, after {config.max_rollbacks} roll backs",
                hint="lower learning_rate, raise warmup_steps, or look at the rows named above",
            )
        self._restore(self._before(step - self.watch.bad))
        self.writer.drop_after(self.step)
        rollbacks = [*rollbacks, {"from": step, "to": self.step, "why": why}]
        self.log.warn(f"step {step}: {why}; back to step {self.step}, rows of samples {self.position.sample} to "
                      f"{sample} are skipped")  # fmt: skip
        self.position.sample, self.result.rollbacks, self.result.tokens = sample, rollbacks, tokens

    def _before(self, step: int) -> dict[str, Any]:
        """Load the last weights to go back to from before `step`, whose own weights were bad already."""
        self.writer.wait()
        self.world.wait()
        for target in sorted((at for at in self.writer.marked[LASTING] if at < step), reverse=True):
            try:
                return load_step(self.checkpoints, target, self.model, self.optimizers, self.identity,
                                 self.average.tensors())  # fmt: skip
            except DamagedError as error:
                self.log.warn(f"{error.message}; going back further")
        raise TrainingError(
            f"{self.watch.why}, and no whole checkpoint from before step {step} is left to go back to",
            hint="lower learning_rate, raise warmup_steps, or look at the rows named above",
        )


def _interrupted(stop: Stop, step: int, steps: int) -> Interrupted:
    return Interrupted(
        f"stopped at step {step} of {steps}; the checkpoint is kept",
        hint="run the same command again to go on",
        signal=stop.number,
    )


def _check_shares(config: TrainingConfig, layout: Layout) -> None:
    if config.batch_rows // config.accumulation < layout.rows:
        raise ConfigError(
            f"a part of {config.batch_rows // config.accumulation} rows cannot be shared by {layout.rows} processes",
            hint="raise training.batch_rows or lower training.accumulation",
        )


def _validation_due(config: TrainingConfig, step: int, result: TrainResult) -> bool:
    """Asked at the start of a step, so that a run resumed right there validates exactly once."""
    if not config.validate_every or not step or step % config.validate_every:
        return False
    return not any(point["step"] == step and "validation" in point for point in result.curve[-2:])


def _check_first_loss(loss: float, expected: float) -> None:
    if not abs(loss - expected) <= 0.1 * expected:
        raise TrainingError(
            f"the loss before any learning is {loss:.3f} but a fresh model must be near {expected:.3f}",
            hint="the initialisation, the targets or the vocabulary size is wrong",
        )


def _rows_of(objective: Objective, state: DataState, config: TrainingConfig) -> str:
    """Which rows the step was made of, and how their texts begin where the objective can tell."""
    numbers = row_numbers(objective.rows["train"].sources, state, config.batch_rows)
    listed = ", ".join(str(number) for number in numbers[:8]) + (", ..." if len(numbers) > 8 else "")
    describe = getattr(objective, "describe", None)
    texts = describe(numbers) if describe else ""
    return f"Rows {listed}" + (f": {texts}" if texts else "")
