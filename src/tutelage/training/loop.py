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
from tutelage.store.errors import Interrupted, TrainingError
from tutelage.store.events import EventLog, plain
from tutelage.store.hashing import sha256_json, sha256_text
from tutelage.training.checkpoint import load_latest, save_checkpoint, trained_state
from tutelage.training.config import TrainingConfig
from tutelage.training.objective import Loss, Objective
from tutelage.training.optimizers import make_optimizers
from tutelage.training.position import DataState, ordered_batches, training_batches
from tutelage.training.schedules import learning_rate

MAX_SKIPPED_IN_A_ROW = 5
# How a run is watched does not change what it computes.
_NOT_IN_FINGERPRINT = {"checkpoint_seconds", "keep_checkpoints", "threads"}


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

    The gradient is divided by the weight of the whole step, so parts of a batch (`accumulation`) add up exactly.
    `first_loss`: what the loss must be close to before anything is learned (ln V of a fresh model).
    Raises TrainingError for a non-finite loss that stays or a first loss far off, Interrupted after SIGINT/SIGTERM
    (a checkpoint is written first), ConfigError if `work` holds another run's checkpoints.
    """
    set_threads(config.threads)
    device = choose_device(config.device)
    dtype = choose_precision(config.precision, device)
    autocast = torch.autocast(device.type, dtype) if dtype != torch.float32 else contextlib.nullcontext()
    model.to(device).train()
    rows = objective.rows["train"]
    steps = total_steps(config, len(rows))
    optimizers = make_optimizers(model, config)
    state = DataState(seed)
    result = TrainResult(steps=steps, tokens=0)
    fingerprint = _fingerprint(objective, config, model, seed)
    checkpoints = work / "checkpoints"
    step = _resume(checkpoints, model, optimizers, state, result, fingerprint, log)
    batches = training_batches(rows, state, config.batch_rows)
    begin = last_save = last_log = time.monotonic()
    tokens_before = result.tokens

    def checkpoint() -> None:
        nonlocal last_save
        saved = {"sample": state.sample, "tokens": result.tokens, "curve": result.curve,
                 "skipped": result.skipped, "fingerprint": fingerprint}  # fmt: skip
        save_checkpoint(checkpoints, step, model, optimizers, saved, config.keep_checkpoints)
        last_save = time.monotonic()

    with _stop_requested() as stop:
        while step < steps:
            if _validation_due(config, step, result):
                _validate(model, objective, config, step, result, log, autocast, config.validation_rows)
            rate = learning_rate(config, step, steps)
            batch = next(batches).to(device)
            # Dropout draws from the step's own numbers: a resumed run draws the same.
            torch.manual_seed(int(sha256_text(f"{seed}:{step}")[:15], 16))
            losses = []
            for part in batch.split(config.accumulation):
                with autocast:
                    loss = objective.loss(model, part)
                _with_auxiliary(model, loss).backward()  # type: ignore[no-untyped-call]
                losses.append(Loss(loss.sum.detach(), loss.weight.detach(), loss.metrics))
            figures = _figures(losses)
            norm = _finish_gradient(model, sum(float(loss.weight) for loss in losses), config.grad_clip)
            if step == 0 and first_loss is not None:
                _check_first_loss(figures["loss"], first_loss)
            if math.isfinite(figures["loss"]) and math.isfinite(norm):
                _update(optimizers, rate)
                model.end_of_step()
            else:
                _skip(step, result, state, config, log)
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            step += 1
            result.tokens += int((batch.documents > 0).sum())
            now = time.monotonic()
            logged = step % config.log_every == 0 or step in (1, steps)
            if logged:
                result.curve.append(plain({"step": step, **figures, "lr": rate, "grad_norm": norm}))
            if logged or now - last_log > 1:
                last_log = now
                log.emit("step", step=step, total=steps, **figures, lr=rate, grad_norm=norm, tokens=result.tokens,
                         tokens_per_second=round((result.tokens - tokens_before) / (now - begin)))  # fmt: skip
            if stop.is_set():
                checkpoint()
                raise Interrupted(
                    f"stopped at step {step} of {steps}; the checkpoint is kept",
                    hint="run the same command again to go on",
                )
            if step < steps and now - last_save >= config.checkpoint_seconds:
                checkpoint()
        if state.sample > 0 and steps > 0:
            checkpoint()
    result.final = _validate(model, objective, config, step, result, log, autocast, 0)
    elapsed = time.monotonic() - begin
    result.timing = {
        "seconds": round(elapsed, 2),
        "tokens_per_second": round((result.tokens - tokens_before) / max(elapsed, 1e-9), 1),
    }
    model.eval()
    return result


@torch.no_grad()
def evaluate_objective(
    model: DecoderLM, objective: Objective, split: str = "validation", batch_rows: int = 16, limit: int = 0
) -> dict[str, float]:
    """Loss and metrics of an objective over a split, without training. Empty if there is no such split."""
    if split not in objective.rows:
        return {}
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    losses = [
        objective.loss(model, batch.to(device)) for batch in ordered_batches(objective.rows[split], batch_rows, limit)
    ]
    model.train(was_training)
    return _figures(losses)


def _with_auxiliary(model: DecoderLM, loss: Loss) -> torch.Tensor:
    """The sum to differentiate: the objective's, and what the model's parts ask for with the same weight."""
    auxiliary = model.auxiliary_loss()
    return loss.sum if auxiliary is None else loss.sum + auxiliary * loss.weight


def _validate(
    model: DecoderLM,
    objective: Objective,
    config: TrainingConfig,
    step: int,
    result: TrainResult,
    log: EventLog,
    autocast: contextlib.AbstractContextManager[Any],
    limit: int,
) -> dict[str, float]:
    rows = max(1, config.batch_rows // config.accumulation)
    with autocast:
        figures = evaluate_objective(model, objective, "validation", rows, limit)
    if figures:
        result.curve.append(plain({"step": step, "validation": figures}))
        log.emit("validation", step=step, total=result.steps, **figures)
    return figures


def _validation_due(config: TrainingConfig, step: int, result: TrainResult) -> bool:
    """Asked at the start of a step, so that a run resumed right there validates exactly once."""
    if not config.validate_every or not step or step % config.validate_every:
        return False
    return not any(point["step"] == step and "validation" in point for point in result.curve[-2:])


def _figures(losses: list[Loss]) -> dict[str, float]:
    """Loss and metrics over parts of a batch: sums divided by weights, once."""
    weight = sum(float(loss.weight) for loss in losses)
    figures = {"loss": sum(float(loss.sum) for loss in losses) / weight if weight else math.nan}
    for name in losses[0].metrics if losses else ():
        total = sum(float(loss.metrics[name][0]) for loss in losses)
        count = sum(float(loss.metrics[name][1]) for loss in losses)
        figures[name] = total / count if count else math.nan
    return figures


def _finish_gradient(model: DecoderLM, weight: float, clip: float) -> float:
    """Divide the summed gradients by the step's weight and clip; returns the norm before clipping."""
    if weight <= 0:
        raise TrainingError("a whole step has no targets", hint="check the loss mask of the data")
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    for parameter in parameters:
        parameter.grad.div_(weight)  # type: ignore[union-attr]
    return float(torch.nn.utils.clip_grad_norm_(parameters, clip))


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
) -> int:
    """Load the newest whole checkpoint, if any; returns the step to go on from."""
    if not checkpoints.exists():
        return 0
    fresh = {name: value.clone() for name, value in trained_state(model).items()}
    saved = load_latest(checkpoints, model, optimizers, fingerprint, log)
    if saved is None:
        model.load_state_dict(fresh, strict=False)
        return 0
    state.sample, result.tokens = saved["sample"], saved["tokens"]
    result.curve, result.skipped = saved["curve"], saved["skipped"]
    log.note(f"going on from step {saved['step']} of {result.steps}")
    return int(saved["step"])


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
