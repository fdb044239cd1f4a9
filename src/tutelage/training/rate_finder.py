"""Learning-rate range test: raise the rate step by step until the loss diverges, on a copy of the model."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from tutelage.model.decoder import DecoderLM
from tutelage.store.device import choose_device, choose_precision, set_threads
from tutelage.store.errors import TrainingError
from tutelage.training.config import TrainingConfig
from tutelage.training.data.position import DataState, microbatches
from tutelage.training.distributed.parallel import Layout
from tutelage.training.distributed.world import World
from tutelage.training.figures import figures_of
from tutelage.training.gradient import step_gradient
from tutelage.training.objective import Objective
from tutelage.training.optim.optimizers import freeze, make_optimizers

SMOOTHING = 0.8  # exponential smoothing of the loss
# The sweep ends when this share of the improvement is lost again, and at least this share of the first loss, because
# batches differ.
BROKEN, NOTICEABLE = 0.3, 0.05
SAFETY = 3.0  # factor below the rate of the lowest loss


@dataclass(frozen=True)
class RateFinding:
    """A sweep: rates and smoothed losses of its steps, `suggested` and its reason, and whether the loss diverged."""

    rates: list[float]
    losses: list[float]
    suggested: float
    why: str
    broke: bool


def find_rate(
    model: DecoderLM,
    objective: Objective,
    config: TrainingConfig,
    seed: int,
    low: float = 1e-5,
    high: float = 1.0,
    steps: int = 100,
    report: Callable[[int, float, float], None] | None = None,
) -> RateFinding:
    """Sweep the rate geometrically from `low` to `high` over `steps` training batches (Smith 2017, section 3.3).

    `model` is not changed. `report` gets step, rate and smoothed loss. The suggestion is a rule of thumb for the peak
    rate: the rate at the lowest loss divided by 3; a few short runs around it are more reliable.
    """
    set_threads(config.threads)
    device = choose_device(config.device)
    dtype = choose_precision(config.precision, device)
    autocast = torch.autocast(device.type, dtype) if dtype != torch.float32 else contextlib.nullcontext()
    trial = copy.deepcopy(model).to(device).train()
    freeze(trial, config.freeze_blocks)
    optimizers = make_optimizers(trial, config, dtype)
    state, rows = DataState(seed), objective.rows["train"]
    rates: list[float] = []
    losses: list[float] = []
    mean, best, broke = 0.0, math.inf, False
    with torch.random.fork_rng(devices=[]):
        for step in range(steps):
            rate = low * (high / low) ** (step / max(1, steps - 1))
            torch.manual_seed(seed + step)
            batches = [one.to(device) for one in microbatches(rows, state, config.batch_rows, config.accumulation)]
            total, _ = step_gradient(trial, objective, batches, config.grad_clip, autocast, World(), Layout())
            loss = figures_of(total)["loss"]
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            smooth = mean / (1 - SMOOTHING ** (step + 1))
            first = losses[0] if losses else smooth
            if not math.isfinite(smooth) or smooth > best + max(BROKEN * (first - best), NOTICEABLE * first):
                broke = True
                break
            rates.append(rate)
            losses.append(smooth)
            best = min(best, smooth)
            if report is not None:
                report(step + 1, rate, smooth)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate * group.get("rate_factor", 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            trial.end_of_step()
            state.sample += config.batch_rows
    if not losses:
        raise TrainingError("the loss of the first step is not finite", hint="check the data and the initial weights")
    lowest = min(range(len(losses)), key=losses.__getitem__)
    suggested = rates[lowest] / SAFETY
    why = f"the loss was lowest ({losses[lowest]:.3f}) at {rates[lowest]:.2g}; a third of that rate leaves a margin"
    if not broke:
        why += f". It did not diverge up to {high:g}, so the sweep may have been too short"
    return RateFinding(rates, losses, float(f"{suggested:.2g}"), why, broke)
