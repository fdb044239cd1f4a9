"""The one training loop. It knows batches, losses and steps; what they mean is the objective's business."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tutelage.model.decoder import DecoderLM
from tutelage.store.device import choose_device, choose_precision, set_threads
from tutelage.store.errors import ConfigError, Interrupted, TrainingError
from tutelage.store.events import EventLog, plain
from tutelage.store.hashing import sha256_text
from tutelage.training.averaging import WeightAverage
from tutelage.training.checkpoint import CheckpointWriter, load_latest, load_step, trained_state
from tutelage.training.config import TrainingConfig
from tutelage.training.figures import evaluate_objective, figures_of
from tutelage.training.fingerprint import fingerprint
from tutelage.training.gradient import step_gradient
from tutelage.training.objective import Objective
from tutelage.training.optimizers import freeze, make_optimizers
from tutelage.training.parallel import Layout, arrange, collect, spread, sum_expert_loads
from tutelage.training.position import DataState, row_numbers
from tutelage.training.schedules import learning_rate
from tutelage.training.signals import stop_requested
from tutelage.training.watch import Watch
from tutelage.training.world import World, current_world, losses_named


@dataclass
class TrainResult:
    """What a run leaves beside its weights. `curve` holds no times, so equal runs have equal curves.

    skipped: steps (0-based) that were not taken. rollbacks: from which step to which, and why.
    """

    steps: int
    tokens: int
    curve: list[dict[str, Any]] = field(default_factory=list)
    final: dict[str, float] = field(default_factory=dict)
    skipped: list[int] = field(default_factory=list)
    rollbacks: list[dict[str, Any]] = field(default_factory=list)
    timing: dict[str, float] = field(default_factory=dict)


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
) -> TrainResult:
    """Train what is not frozen of `model`, in place; a killed run goes on from `work/checkpoints`, bit for bit.

    The gradient is divided by the weight of the whole step, over its parts (`accumulation`) and all processes, so
    that they add up exactly. Every process of a run calls this with the same arguments and ends with the same model.
    `first_loss`: what the loss must be close to before anything is learned (ln V of a fresh model).
    Raises TrainingError for a non-finite loss that stays, spikes that come back after roll backs, or a first loss far
    off; Interrupted after SIGINT/SIGTERM (a checkpoint is written first); ConfigError if `work` holds another run's
    checkpoints.
    """
    world = current_world()
    set_threads(config.threads, world.local_size)
    device = choose_device(config.device)
    dtype = choose_precision(config.precision, device)
    autocast = torch.autocast(device.type, dtype) if dtype != torch.float32 else contextlib.nullcontext()
    layout = arrange(config.parallel, world, device)
    _check_shares(config, layout)
    freeze(model, config.freeze_blocks)
    identity = fingerprint(objective, config, model, seed)
    trained = spread(model, layout, device, dtype)
    trained.train()
    optimizers = make_optimizers(trained, config)
    average = WeightAverage(trained, config)
    watch = Watch(config.spike_sigma, config.spike_patience)
    state = DataState(seed)
    steps = total_steps(config, len(objective.rows["train"]))
    result = TrainResult(steps=steps, tokens=0)
    checkpoints = work / "checkpoints"

    def record() -> dict[str, Any]:
        return {"sample": state.sample, "tokens": result.tokens, "curve": result.curve, "skipped": result.skipped,
                "rollbacks": result.rollbacks, "watch": watch.state(), "averaged": average.count,
                "fingerprint": identity}  # fmt: skip

    def restore(saved: dict[str, Any]) -> int:
        state.sample, result.tokens, average.count = saved["sample"], saved["tokens"], saved["averaged"]
        result.curve, result.skipped, result.rollbacks = saved["curve"], saved["skipped"], saved["rollbacks"]
        watch.load(saved["watch"])
        return int(saved["step"])

    step = 0
    if checkpoints.exists():
        fresh = {name: value.clone() for name, value in trained_state(trained).items()}
        saved = load_latest(checkpoints, trained, optimizers, identity, log, world, average.tensors())
        if saved is None:
            trained.load_state_dict(fresh, strict=False)
        else:
            step = restore(saved)
            log.note(f"going on from step {step} of {steps}")

    def validate(limit: int) -> dict[str, float]:
        rows = max(1, config.batch_rows // config.accumulation)
        with autocast:
            figures = evaluate_objective(trained, objective, "validation", rows, limit, world, layout)
        if figures:
            result.curve.append(plain({"step": step, "validation": figures}))
            log.emit("validation", step=step, total=steps, **figures)
        return figures

    def checkpoint() -> float:
        lasting = bool(config.spike_sigma) and step % config.rollback_every == 0
        writer.save(step, trained, optimizers, record(), average.tensors(), lasting)
        return time.monotonic()

    begin = last_save = last_log = time.monotonic()
    tokens_before = result.tokens
    with (
        losses_named(world),
        stop_requested() as stop,
        _writing(checkpoints, config, world, layout) as writer,
    ):

        def wishes() -> dict[str, float]:
            due = time.monotonic() - last_save >= config.checkpoint_seconds
            return {"stop": bool(stop), "save": due}

        while step < steps:
            if _validation_due(config, step, result):
                validate(config.validation_rows)
            if config.spike_sigma and step % config.rollback_every == 0:
                last_save = checkpoint()
            rate = learning_rate(config, step, steps)
            # Dropout draws from the step's own numbers: a resumed run draws the same.
            draw = f"{seed}:{step}:{layout.row}" if layout.row else f"{seed}:{step}"
            torch.manual_seed(int(sha256_text(draw)[:15], 16))
            total, norm = step_gradient(trained, objective, config, state, autocast, world, layout, wishes)
            figures = figures_of(total)
            if step == 0 and first_loss is not None:
                _check_first_loss(figures["loss"], first_loss)
            decision = watch.judge(figures["loss"], norm)
            if decision == "go":
                for optimizer in optimizers:
                    for group in optimizer.param_groups:
                        group["lr"] = rate * group.get("rate_factor", 1.0)
                    optimizer.step()
                sum_expert_loads(trained, layout)
                trained.end_of_step()
                average.update(step, steps)
            else:
                result.skipped.append(step)
                log.warn(f"step {step + 1}: {watch.why}; the update is skipped. {_rows_of(objective, state, config)}")
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            state.sample += config.batch_rows
            step += 1
            result.tokens += round(total["tokens"])
            now = time.monotonic()
            logged = step % config.log_every == 0 or step in (1, steps)
            if logged:
                result.curve.append(plain({"step": step, **figures, "lr": rate, "grad_norm": norm}))
            if logged or now - last_log > 1:
                last_log = now
                log.emit("step", step=step, total=steps, **figures, lr=rate, grad_norm=norm, tokens=result.tokens,
                         tokens_per_second=round((result.tokens - tokens_before) / (now - begin)))  # fmt: skip
            if decision == "roll back":
                # Back to weights from before the trouble, but on in the data: what lies between is never seen again.
                target = (step - config.spike_patience) // config.rollback_every * config.rollback_every
                sample, rollbacks = state.sample, [*result.rollbacks, {"from": step, "to": target, "why": watch.why}]
                if len(rollbacks) > config.max_rollbacks:
                    raise TrainingError(
                        f"{watch.why} at step {step}, after {config.max_rollbacks} roll backs",
                        hint="lower learning_rate, raise warmup_steps, or look at the rows named above",
                    )
                writer.drop_after(target)
                saved = load_step(checkpoints, target, trained, optimizers, identity, average.tensors())
                first = restore(saved)
                log.warn(f"step {step}: {watch.why}; back to step {first}, rows of samples {state.sample} to {sample} "
                         "are skipped")  # fmt: skip
                step, state.sample, result.rollbacks = first, sample, rollbacks
            if total["stop"]:
                checkpoint()
                writer.wait()
                raise Interrupted(
                    f"stopped at step {step} of {steps}; the checkpoint is kept",
                    hint="run the same command again to go on",
                    signal=stop.number,
                )
            if step < steps and total["save"] and decision != "roll back":
                last_save = checkpoint()
        if state.sample > 0 and steps > 0:
            checkpoint()
        average.apply()
        result.final = validate(0)
    elapsed = time.monotonic() - begin
    result.timing = {
        "seconds": round(elapsed, 2),
        "tokens_per_second": round((result.tokens - tokens_before) / max(elapsed, 1e-9), 1),
    }
    collect(model, trained)
    model.eval()
    return result


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


@contextlib.contextmanager
def _writing(
    checkpoints: Path, config: TrainingConfig, world: World, layout: Layout
) -> Iterator[CheckpointWriter]:  # fmt: skip
    """A writer of checkpoints that has ended its work when the block ends, however that ends."""
    writer = CheckpointWriter(checkpoints, config.keep_checkpoints, world, layout.mesh)
    try:
        yield writer
    except BaseException:
        writer.give_up()
        raise
    writer.wait()
