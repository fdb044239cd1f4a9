"""Checkpoints: new directory, SHA-256 manifest, fsync, rename, then `latest`; verified on load, never overwritten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tutelage.store.errors import ConfigError, DamagedError
from tutelage.store.events import EventLog
from tutelage.store.files import new_directory, write_atomic, write_json
from tutelage.store.hashing import sha256_file


def save_checkpoint(
    root: Path,
    step: int,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    state: dict[str, Any],
    keep: int = 2,
) -> Path:
    """Write `root/step-N` with what is trained, its optimizer state and `state` (JSON), then prune to the last `keep`.

    `state["fingerprint"]` tells one run from another, the weights that stay frozen included: they are not written.
    """
    final = root / f"step-{step:08d}"
    tensors, scalars = _flatten(optimizers)
    with new_directory(final) as out:
        save_file({name: value.detach().cpu().contiguous() for name, value in trained_state(model).items()},
                  out / "model.safetensors")  # fmt: skip
        save_file(tensors, out / "optimizer.safetensors")
        write_json(out / "state.json", {**state, "step": step, "optimizer_scalars": scalars})
        files = {path.name: sha256_file(path) for path in sorted(out.iterdir())}
        write_json(out / "manifest.json", files)
    write_atomic(root / "latest", final.name + "\n")
    for old in _all(root)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict without the parameters that are frozen."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def load_latest(
    root: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer], fingerprint: str, log: EventLog
) -> dict[str, Any] | None:
    """Load the newest whole checkpoint into model and optimizers and return its state, or None.

    A damaged one is named in a warning and the one before it is used; it is moved aside, not removed.
    Raises ConfigError for a checkpoint of a run with another fingerprint.
    """
    damaged = []
    for path in reversed(_all(root)):
        try:
            state = _load(path, model, optimizers, fingerprint)
        except DamagedError as error:
            damaged.append(error)
            log.warn(f"{error}; going back to the checkpoint before it")
            path.rename(path.with_name(f"damaged-{path.name}"))
            continue
        return state
    if damaged:
        log.warn("no whole checkpoint is left: training starts again from its beginning")
    return None


def verify(path: Path) -> None:
    """Raises DamagedError unless every file is there and has its recorded hash."""
    try:
        files = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        raise DamagedError(f"checkpoint {path} has no readable manifest.json") from None
    for name, expected in files.items():
        file = path / name
        if not file.is_file() or sha256_file(file) != expected:
            raise DamagedError(f"checkpoint file {file} does not match its recorded SHA-256")


def _all(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("step-*") if path.is_dir())


def _load(path: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer], fingerprint: str) -> dict[str, Any]:
    verify(path)
    try:
        weights = load_file(path / "model.safetensors")
        tensors = load_file(path / "optimizer.safetensors")
    except SafetensorError as error:
        raise DamagedError(f"checkpoint {path} cannot be read: {error}") from None
    state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if state["fingerprint"] != fingerprint:
        raise ConfigError(
            f"{path.parent} belongs to a run with other data or settings", hint="use another work directory"
        )
    if weights.keys() != trained_state(model).keys():
        raise DamagedError(f"checkpoint {path} does not hold the weights that are trained")
    model.load_state_dict(weights, strict=False)
    _restore(optimizers, tensors, state.pop("optimizer_scalars"))
    return state


def _flatten(optimizers: list[torch.optim.Optimizer]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Optimizer state as named tensors and JSON scalars: no pickle."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for number, optimizer in enumerate(optimizers):
        for parameter, values in optimizer.state_dict()["state"].items():
            for key, value in values.items():
                name = f"{number}.{parameter}.{key}"
                if isinstance(value, Tensor):
                    tensors[name] = value.detach().cpu().contiguous()
                else:
                    scalars[name] = value
    return tensors, scalars


def _restore(optimizers: list[torch.optim.Optimizer], tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Any]] = {}
        for name, value in {**tensors, **scalars}.items():
            owner, parameter, key = name.split(".", 2)
            if int(owner) == number:
                state.setdefault(int(parameter), {})[key] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
