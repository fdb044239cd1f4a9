"""Set up training before the first step: device, precision, ranks, the sharded model and its optimizers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tutelage.model.decoder import DecoderLM
from tutelage.model.lora import is_quantised
from tutelage.store.device import choose_device, choose_precision, keep_freed_memory, set_threads
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog
from tutelage.training.checkpoint.fingerprint import fingerprint
from tutelage.training.config import TrainingConfig
from tutelage.training.distributed.parallel import Layout, arrange, shard_model
from tutelage.training.distributed.world import World, current_world
from tutelage.training.float8 import check_float8
from tutelage.training.objective import Objective
from tutelage.training.optim.averaging import WeightAverage
from tutelage.training.optim.optimizers import freeze, make_optimizers
from tutelage.training.precision import resolve_precision
from tutelage.training.tune import tuned


@dataclass(frozen=True)
class Setup:
    """Everything that is constant during training. The `auto` settings of `config` are resolved."""

    objective: Objective
    config: TrainingConfig
    log: EventLog
    world: World
    layout: Layout
    device: torch.device
    dtype: torch.dtype
    model: DecoderLM
    optimizers: list[torch.optim.Optimizer]
    average: WeightAverage
    steps: int
    seed: int
    data_seed: int
    fingerprint: str
    checkpoints: Path

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext() if self.dtype == torch.float32 else torch.autocast(self.device.type, self.dtype)


def set_up(
    model: DecoderLM, objective: Objective, config: TrainingConfig, work: Path, log: EventLog, seed: int,
    data_seed: int,
) -> Setup:  # fmt: skip
    """Resolve and check the settings, then shard the model. Raises ConfigError for unsupported settings."""
    world = current_world()
    if not is_quantised(model):  # 4-bit weights are used to save memory
        keep_freed_memory()
    steps = total_steps(config, len(objective.rows["train"]))
    device = choose_device(config.device)
    set_threads(config.threads, world.local_size)
    precision = resolve_precision(config.precision, device, work, log, world)
    config = config.model_copy(update={"precision": precision})
    config = tuned(model, objective, config, steps, data_seed, work, world, log)
    set_threads(config.threads, world.local_size)
    dtype = choose_precision(precision, device)
    layout = arrange(config.parallel, world, device)
    _check_microbatch(config, layout)
    freeze(model, config.freeze_blocks)
    identity = fingerprint(objective, config, model, seed, data_seed)
    if float8 := precision == "float8":
        check_float8(device)
    sharded = shard_model(model, layout, device, dtype, float8)
    sharded.train()
    return Setup(
        objective, config, log, world, layout, device, dtype, sharded, make_optimizers(sharded, config, dtype),
        WeightAverage(sharded, config), steps, seed, data_seed, identity, work / "checkpoints",
    )  # fmt: skip


def total_steps(config: TrainingConfig, rows: int) -> int:
    return config.steps or max(1, round(config.epochs * rows / config.batch_rows))


def _check_microbatch(config: TrainingConfig, layout: Layout) -> None:
    rows = config.batch_rows // config.accumulation
    if rows < layout.data_size:
        raise ConfigError(
            f"a microbatch of {rows} rows cannot be split over {layout.data_size} processes",
            hint="raise training.batch_rows or lower training.accumulation",
        )
