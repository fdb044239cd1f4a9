"""Settings chosen by measuring: a few are timed for seconds on the real batch, and the fastest is kept."""

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
REPEATS = 2  # timed passes of each setting, after one that is not timed
MARGIN = 0.97  # another setting must be so much faster than what was asked for
LONG_RUN = 300.0  # s from which on compiling is tried


@dataclass(frozen=True)
class Trial:
    """One setting and how long its step took (without the optimizer), its first one too."""

    threads: int
    accumulation: int
    compile: bool
    seconds: float
    first_seconds: float


def tuned(
    model: DecoderLM, objective: Objective, config: TrainingConfig, steps: int, data_seed: int, work: Path,
    world: World, log: EventLog,
) -> TrainingConfig:  # fmt: skip
    """`config` with the fastest threads, accumulation and compile, if it asks for that.

    These change the order of sums, so what was chosen is kept in `work/settings.json`: a resumed run uses it
    again. The model, the random numbers and the position in the data stay as they are. Several ranks time nothing.
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
    """The settings that training was tuned to, if it was asked to be."""
    return {name: getattr(used, name) for name in CHOICES} if asked.tune else {}


def measure(model: DecoderLM, objective: Objective, config: TrainingConfig, steps: int, data_seed: int) -> list[Trial]:
    """Trials, what was asked first: threads, then microbatches with the best of these, then compiled for a long run.

    Where compiling fails (it needs a C++ compiler on a CPU) there is no such trial.
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
        with contextlib.suppress(Exception):  # many things can go wrong in a compiler, none of them matters here
            attempt(compile=True)
    return trials


def choose(trials: list[Trial], steps: int) -> Trial:
    """The fastest over the whole run, its first step counted; the first trial unless another is clearly faster."""

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
