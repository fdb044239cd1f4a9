"""The content of a checkpoint, by weight name: trained weights, optimizer states, and extra tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def named_state(
    model: nn.Module, optimizers: list[torch.optim.Optimizer], omit: Callable[[str], bool] = lambda name: False
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The optimizer state as tensors and JSON scalars (no pickle), without weights for which `omit(name)` is true."""
    tensors = {f"model.{name}": value for name, value in trained_state(model).items() if not omit(name)}
    scalars: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        for optimizer in optimizers:
            for key, value in ({} if omit(name) else optimizer.state.get(parameter, {})).items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{name}.{key}"] = value
                else:
                    scalars[f"{name}.{key}"] = value
    return tensors, scalars


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict without frozen parameters."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def prefixed(extra: dict[str, Tensor] | None) -> dict[str, Tensor]:
    return {f"extra.{name}": value for name, value in (extra or {}).items()}
