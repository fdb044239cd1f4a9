"""Autotuning: time a few settings for seconds on a training batch and use the fastest."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tutelage.model.decoder import DecoderLM
from tutelage.store.device import choose_device, choose_precision, set_threads
from tutelage.store.events import EventLog
from tutelage.store.files import write_json
from tutelage.training.blocks import prepared
from tutelage.training.config import TrainingConfig
from tutelage.training.data.position import DataState, microbatches
from tutelage.training.distributed.parallel import Layout
from tutelage.training.distributed.world import World
from tutelage.training.gradient import step_gradient
from tutelage.training.objective import Objective
from tutelage.training.optim.optimizers import freeze

CHOICES = ("threads", "accumulation", "compile")
REPEATS = 2  # timed passes per setting, after one warmup pass
MARGIN = 0.97  # a setting must beat the configured one by this factor
LONG_RUN = 300.0  # s of expected run time from which compiling is tried


@dataclass(frozen=True)
class Trial:
    """One setting with the time of a step and of its first step (without the optimizer)."""

    threads: int
    accumulation: int
    compile: bool
    seconds: float
    first_seconds: float


def tuned(
    model: DecoderLM, objective: Objective, config: TrainingConfig, steps: int, data_seed: int, work: Path,
    world: World, log: EventLog,
) -> TrainingConfig:  # fmt: skip
    """`config` with the fastest threads, accumulation and compile, if `tune` is set.

    These change the order of sums, so the choice is stored in `work/settings.json` and reused by a resumed run. The
    model, the random state and the data position are unchanged. With several ranks nothing is timed.
    """
    if not config.tune:
        return config
    file = work / "settings.json"
    if file.exists():
        kept = {name: json.loads(file.read_text())[name] for name in CHOICES if name != "threads" or world.size == 1}
        return config.model_copy(update=kept)
    if world.size > 1:
        return config
    log.note("timing a few settings")
    trials = measure(model, objective, config, steps, data_seed)
    best = choose(trials, steps)
    write_json(file, {**{name: getattr(best, name) for name in CHOICES}, "trials": [asdict(trial) for trial in trials]})
    log.emit("tuning", trials=[asdict(trial) for trial in trials], **{name: getattr(best, name) for name in CHOICES})
    log.note(
        f"{_counted(best.threads, 'thread')}, {_counted(best.accumulation, 'microbatch', 'es')} a step"
        f"{', compiled' if best.compile else ''}: {best.seconds:.2f} s a step, "
        f"{trials[0].seconds / best.seconds:.2f} times as fast as the recipe's settings"
    )
    return config.model_copy(update={name: getattr(best, name) for name in CHOICES})


def _counted(number: int, name: str, plural: str = "s") -> str:
    return f"{number} {name}{plural if number > 1 else ''}"


def chosen(asked: TrainingConfig, used: TrainingConfig) -> dict[str, Any]:
    """The stored settings, if training was tuned."""
    return {name: getattr(used, name) for name in CHOICES} if asked.tune else {}


def measure(model: DecoderLM, objective: Objective, config: TrainingConfig, steps: int, data_seed: int) -> list[Trial]:
    """Trials, starting with the configured settings: threads, then microbatches at the best of these, then compiling
    for a long run.

    If compiling fails (on a CPU it requires a C++ compiler), that trial is left out.
    """
    cores = len(os.sched_getaffinity(0))
    trials = [trial(model, objective, config.model_copy(update={"threads": config.threads or cores}), data_seed)]

    def attempt(**changes: Any) -> None:
        best = choose(trials, steps)
        kept = {name: getattr(best, name) for name in CHOICES}
        trials.append(trial(model, objective, config.model_copy(update={**kept, **changes}), data_seed))

    for threads in sorted({1, cores // 2, cores} - {0, trials[0].threads}):
        attempt(threads=threads)
    for accumulation in (config.accumulation * 2, config.accumulation // 2):
        if 0 < accumulation <= config.batch_rows and config.batch_rows % accumulation == 0:
            with contextlib.suppress(torch.OutOfMemoryError, MemoryError):  # larger microbatches may not fit
                attempt(accumulation=accumulation)
    if not config.compile and choose(trials, steps).seconds * steps > LONG_RUN:
        with contextlib.suppress(Exception):  # any compiler failure only means that this trial is left out
            attempt(compile=True)
    return trials


def choose(trials: list[Trial], steps: int) -> Trial:
    """The fastest over the full run, including its first step; the first trial unless another is clearly faster."""

    def whole(one: Trial) -> float:
        return one.seconds * steps + one.first_seconds

    best = min(trials, key=whole)
    return best if whole(best) < MARGIN * whole(trials[0]) else trials[0]


def trial(model: DecoderLM, objective: Objective, config: TrainingConfig, data_seed: int) -> Trial:
    """Forward and backward passes over the first step's rows, on a copy of the model."""
    threads = set_threads(config.threads)
    device = choose_device(config.device)
    dtype = choose_precision(config.precision, device)
    autocast = torch.autocast(device.type, dtype) if dtype != torch.float32 else contextlib.nullcontext()
    copied = copy.deepcopy(model).to(device).train()
    freeze(copied, config.freeze_blocks)
    rows = objective.rows["train"]
    state = DataState(data_seed)
    batches = [one.to(device) for one in microbatches(rows, state, config.batch_rows, config.accumulation)]
    times = []
    with torch.random.fork_rng(devices=[]), prepared(copied, config):
        for _ in range(1 + REPEATS):
            begin = time.perf_counter()
            step_gradient(copied, objective, batches, config.grad_clip, autocast, World(), Layout())
            copied.zero_grad(set_to_none=True)
            copied.end_of_step()
            times.append(time.perf_counter() - begin)
    return Trial(threads, config.accumulation, config.compile, min(times[1:]), times[0])
