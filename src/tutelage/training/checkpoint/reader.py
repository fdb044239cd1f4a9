"""Read checkpoints: verify and load the newest intact one, on any number of ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from tutelage.store.errors import ConfigError, DamagedError
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_file
from tutelage.training.checkpoint.folder import checkpoints, move_aside, name_of
from tutelage.training.checkpoint.shards import ShardInfo, load_shard
from tutelage.training.checkpoint.tensors import prefixed, trained_state
from tutelage.training.distributed.world import World


def load_latest(
    root: Path,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    fingerprint: str,
    log: EventLog,
    world: World | None = None,
    extra: dict[str, Tensor] | None = None,
) -> dict[str, Any] | None:
    """Load the newest intact checkpoint into model, optimizers and `extra`, in place, and return its state, or None.

    It may have been written by another number of ranks. A damaged one is reported in a warning and renamed, and the
    previous one is used. Raises ConfigError for a checkpoint of a run with another fingerprint.
    """
    world = world or World()
    damaged = 0
    for path in reversed(checkpoints(root)):
        problem = ""
        try:
            verify(path, world.rank, world.size)
        except DamagedError as error:
            problem = str(error)
        if world.sums([float(bool(problem))])[0] == 0:
            try:
                return _load(path, model, optimizers, fingerprint, prefixed(extra))
            except DamagedError as error:  # all files match their hashes: every rank gets the same error
                problem = str(error)
        damaged += 1
        log.warn(f"{problem or f'checkpoint {path} is damaged'}; trying the previous checkpoint")
        if world.first:
            move_aside(path)
        world.wait()
    if damaged:
        log.warn("no intact checkpoint found: training restarts from the beginning")
    return None


def load_step(
    root: Path, step: int, model: nn.Module, optimizers: list[torch.optim.Optimizer], fingerprint: str,
    extra: dict[str, Tensor],
) -> dict[str, Any]:  # fmt: skip
    """Load the checkpoint of exactly that step. Raises DamagedError if it is missing or damaged."""
    path = root / name_of(step)
    verify(path)
    return _load(path, model, optimizers, fingerprint, prefixed(extra))


def verify(path: Path, rank: int = 0, ranks: int = 1) -> None:
    """Raises DamagedError unless every file (every `ranks`-th, from number `rank`) has its recorded hash."""
    try:
        files = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        raise DamagedError(f"checkpoint {path} has no readable manifest.json") from None
    for name, expected in sorted(files.items())[rank::ranks]:
        file = path / name
        if not file.is_file() or sha256_file(file) != expected:
            raise DamagedError(f"checkpoint file {file} does not match its recorded SHA-256")


def _load(
    path: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer], fingerprint: str, extra: dict[str, Tensor]
) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if state["fingerprint"] != fingerprint:
        raise ConfigError(
            f"{path.parent} belongs to a run with other data or settings", hint="use another work directory"
        )
    index, scalars = _index(path)
    targets = {f"model.{name}": value for name, value in trained_state(model).items()} | extra
    if not targets.keys() <= index.keys():
        raise DamagedError(f"checkpoint {path} does not contain all trained weights")
    try:
        for name, target in targets.items():
            load_shard(target, index[name], name)
        _restore_optimizers(model, optimizers, index, scalars)
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"checkpoint {path} cannot be read: {error}") from None
    return state


def _index(path: Path) -> tuple[dict[str, list[ShardInfo]], dict[str, Any]]:
    """The location of each tensor's shards, and the scalars, from all writing ranks."""
    index: dict[str, list[ShardInfo]] = {}
    scalars: dict[str, Any] = {}
    for file in sorted(path.glob("rank-*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        scalars |= record["scalars"]
        for name, at in record["shards"].items():
            numbers = (tuple(at["offset"]), tuple(at["size"]), tuple(at["shape"]))
            index.setdefault(name, []).append(ShardInfo(file.with_suffix(".safetensors"), *numbers, at["dtype"]))
    return index, scalars


def _restore_optimizers(
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    index: dict[str, list[ShardInfo]],
    scalars: dict[str, Any],
) -> None:
    """Load the optimizer states; tensors with the shape of their parameter are sharded like it."""
    keys: dict[str, set[str]] = {}
    for full in [*(name.removeprefix("optimizer.") for name in index if name.startswith("optimizer.")), *scalars]:
        name, key = full.rsplit(".", 1)
        keys.setdefault(name, set()).add(key)
    names = {parameter: name for name, parameter in model.named_parameters()}
    for optimizer in optimizers:
        state: dict[int, dict[str, Any]] = {}
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for number, parameter in enumerate(parameters):
            for key in sorted(keys.get(names[parameter], ())):
                full = f"{names[parameter]}.{key}"
                value = scalars.get(full)
                if (name := f"optimizer.{full}") in index:
                    value = _empty(index[name][0], parameter)
                    load_shard(value, index[name], name)
                state.setdefault(number, {})[key] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _empty(info: ShardInfo, parameter: Tensor) -> Tensor:
    dtype: torch.dtype = getattr(torch, info.dtype)
    if info.shape and info.shape == tuple(parameter.shape):
        return torch.empty_like(parameter.detach(), dtype=dtype)
    return torch.empty(info.shape, dtype=dtype)
