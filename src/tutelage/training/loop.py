"""The one training loop. It knows batches, losses and steps; what they mean is the objective's business."""

from __future__ import annotations

import contextlib
import hashlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tutelage.model.decoder import DecoderLM
from tutelage.model.lora import lora_layers
from tutelage.store.device import choose_device, choose_precision, set_threads
from tutelage.store.errors import ConfigError, Interrupted, TrainingError
from tutelage.store.events import EventLog, plain
from tutelage.store.hashing import sha256_json, sha256_text
from tutelage.training.checkpoint import CheckpointWriter, load_latest, trained_state
from tutelage.training.config import TrainingConfig
from tutelage.training.figures import evaluate_objective, figures_of, totals
from tutelage.training.objective import Loss, Objective
from tutelage.training.optimizers import freeze, make_optimizers
from tutelage.training.parallel import (
    Layout,
    arrange,
    collect,
    gradient_norm,
    spread,
    sum_expert_loads,
    sum_tensor_parallel,
)
from tutelage.training.position import DataState, parts_of_step
from tutelage.training.schedules import learning_rate
from tutelage.training.spread import local
from tutelage.training.world import World, current_world, losses_named

MAX_SKIPPED_IN_A_ROW = 5
# How a run is watched, and by how many it is done, does not change what it computes (but for the order of sums).
_NOT_IN_FINGERPRINT = {"checkpoint_seconds", "keep_checkpoints", "threads", "parallel"}


@dataclass
class TrainResult:
    """What a run leaves beside its weights. `curve` holds no times, so equal runs have equal curves."""

    steps: int
    tokens: int
    curve: list[dict[str, Any]] = field(default_factory=list)
    final: dict[str, float] = field(default_factory=dict)
    skipped: list[int] = field(default_factory=list)
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
    Raises TrainingError for a non-finite loss that stays or a first loss far off, Interrupted after SIGINT/SIGTERM
    (a checkpoint is written first), ConfigError if `work` holds another run's checkpoints.
    """
    world = current_world()
    set_threads(config.threads, world.local_size)
    device = choose_device(config.device)
    dtype = choose_precision(config.precision, device)
    autocast = torch.autocast(device.type, dtype) if dtype != torch.float32 else contextlib.nullcontext()
    layout = arrange(config.parallel, world, device)
    _check_shares(config, layout)
    freeze(model, config.freeze_blocks)
    fingerprint = _fingerprint(objective, config, model, seed)
    trained = spread(model, layout, device, dtype)
    trained.train()
    optimizers = make_optimizers(trained, config)
    rows = objective.rows["train"]
    steps = total_steps(config, len(rows))
    state = DataState(seed)
    result = TrainResult(steps=steps, tokens=0)
    checkpoints = work / "checkpoints"
    step = _resume(checkpoints, trained, optimizers, state, result, fingerprint, log, world)
    begin = last_save = last_log = time.monotonic()
    tokens_before = result.tokens
    part_rows = max(1, config.batch_rows // config.accumulation)

    def validate(limit: int) -> dict[str, float]:
        with autocast:
            figures = evaluate_objective(trained, objective, "validation", part_rows, limit, world, layout)
        if figures:
            result.curve.append(plain({"step": step, "validation": figures}))
            log.emit("validation", step=step, total=steps, **figures)
        return figures

    with losses_named(world), _stop_requested() as stop, _writing(checkpoints, config, world, layout) as writer:

        def checkpoint() -> None:
            nonlocal last_save
            saved = {"sample": state.sample, "tokens": result.tokens, "curve": result.curve,
                     "skipped": result.skipped, "fingerprint": fingerprint}  # fmt: skip
            writer.save(step, trained, optimizers, saved)
            last_save = time.monotonic()

        while step < steps:
            if _validation_due(config, step, result):
                validate(config.validation_rows)
            rate = learning_rate(config, step, steps)
            # Dropout draws from the step's own numbers: a resumed run draws the same.
            draw = f"{seed}:{step}:{layout.row}" if layout.row else f"{seed}:{step}"
            torch.manual_seed(int(sha256_text(draw)[:15], 16))
            losses, tokens = [], 0
            for part in parts_of_step(rows, state, config.batch_rows, config.accumulation, layout.row, layout.rows):
                part = part.to(device)
                with autocast:
                    loss = objective.loss(trained, part)
                _with_auxiliary(trained, loss).backward()  # type: ignore[no-untyped-call]
                losses.append(Loss(loss.sum.detach(), loss.weight.detach(), loss.metrics))
                tokens += int((part.documents > 0).sum())
            state.sample += config.batch_rows
            due = time.monotonic() - last_save >= config.checkpoint_seconds
            total = totals(losses, world, layout, tokens=tokens, stop=stop.is_set(), save=due)
            figures = figures_of(total)
            norm = _finish_gradient(trained, total["weight"], config.grad_clip, layout)
            if step == 0 and first_loss is not None:
                _check_first_loss(figures["loss"], first_loss)
            if math.isfinite(figures["loss"]) and math.isfinite(norm):
                _update(optimizers, rate)
                sum_expert_loads(trained, layout)
                trained.end_of_step()
            else:
                _skip(step, result, state, config, log)
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
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
            if total["stop"]:
                checkpoint()
                writer.wait()
                raise Interrupted(
                    f"stopped at step {step} of {steps}; the checkpoint is kept",
                    hint="run the same command again to go on",
                )
            if step < steps and total["save"]:
                checkpoint()
        if state.sample > 0 and steps > 0:
            checkpoint()
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


def _with_auxiliary(model: DecoderLM, loss: Loss) -> torch.Tensor:
    """The sum to differentiate: the objective's, and what the model's parts ask for with the same weight."""
    auxiliary = model.auxiliary_loss()
    return loss.sum if auxiliary is None else loss.sum + auxiliary * loss.weight


def _validation_due(config: TrainingConfig, step: int, result: TrainResult) -> bool:
    """Asked at the start of a step, so that a run resumed right there validates exactly once."""
    if not config.validate_every or not step or step % config.validate_every:
        return False
    return not any(point["step"] == step and "validation" in point for point in result.curve[-2:])


def _finish_gradient(model: DecoderLM, weight: float, clip: float, layout: Layout) -> float:
    """Divide the summed gradients by the step's weight and clip; returns the norm before clipping."""
    if weight <= 0:
        raise TrainingError("a whole step has no targets", hint="check the loss mask of the data")
    sum_tensor_parallel(model, layout)
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    grads = [local(parameter.grad) for parameter in parameters if parameter.grad is not None]
    for grad in grads:
        grad.div_(weight)
    norm = gradient_norm(parameters)
    torch._foreach_mul_(grads, min(1.0, clip / (norm + 1e-6)))
    return norm


def _update(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1.0)
        optimizer.step()


def _skip(step: int, result: TrainResult, state: DataState, config: TrainingConfig, log: EventLog) -> None:
    result.skipped.append(step)
    first = state.sample - config.batch_rows
    log.warn(f"step {step + 1}: loss or gradient is not finite; rows {first} to {state.sample - 1} are skipped")
    if result.skipped[-MAX_SKIPPED_IN_A_ROW:] == list(range(step - MAX_SKIPPED_IN_A_ROW + 1, step + 1)):
        raise TrainingError(
            f"the loss was not finite in {MAX_SKIPPED_IN_A_ROW} steps in a row (last: step {step + 1})",
            hint="lower learning_rate or check the data",
        )


def _check_first_loss(loss: float, expected: float) -> None:
    if not abs(loss - expected) <= 0.1 * expected:
        raise TrainingError(
            f"the loss before any learning is {loss:.3f} but a fresh model must be near {expected:.3f}",
            hint="the initialisation, the targets or the vocabulary size is wrong",
        )


def _fingerprint(objective: Objective, config: TrainingConfig, model: DecoderLM, seed: int) -> str:
    """Hash of all that a run computes from. Checkpoints lack the frozen weights, so their values count."""
    settings = {key: value for key, value in config.plain().items() if key not in _NOT_IN_FINGERPRINT}
    adapters = {path: asdict(layer.adapter) for path, layer in lora_layers(model).items()}
    parts = [objective.name, objective.rows["train"].digest(), settings, model.config.plain(), seed]
    return sha256_json([*parts, adapters, _frozen_digest(model)])


def _frozen_digest(model: DecoderLM) -> str:
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            digest.update(f"{name}{tuple(parameter.shape)}{parameter.dtype}".encode())
            digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _resume(
    checkpoints: Path,
    model: DecoderLM,
    optimizers: list[torch.optim.Optimizer],
    state: DataState,
    result: TrainResult,
    fingerprint: str,
    log: EventLog,
    world: World,
) -> int:
    """Load the newest whole checkpoint, if any; returns the step to go on from."""
    if not checkpoints.exists():
        return 0
    fresh = {name: value.clone() for name, value in trained_state(model).items()}
    saved = load_latest(checkpoints, model, optimizers, fingerprint, log, world)
    if saved is None:
        model.load_state_dict(fresh, strict=False)
        return 0
    state.sample, result.tokens = saved["sample"], saved["tokens"]
    result.curve, result.skipped = saved["curve"], saved["skipped"]
    log.note(f"going on from step {saved['step']} of {result.steps}")
    return int(saved["step"])


@contextlib.contextmanager
def _writing(
    checkpoints: Path, config: TrainingConfig, world: World, layout: Layout
) -> Iterator[CheckpointWriter]:  # fmt: skip
    """A writer of checkpoints that has ended its work when the block ends, however that ends."""
    writer = CheckpointWriter(checkpoints, config.keep_checkpoints, world, layout.mesh)
    try:
        yield writer
    except BaseException:
        with contextlib.suppress(Exception):  # what ended the block is what has to be said
            writer.wait()
        raise
    writer.wait()


@contextlib.contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, so that a step ends whole; a second signal acts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
