"""Lion: sign momentum with one state value per weight."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from tutelage.training.distributed.dtensor import local_shard


class Lion(torch.optim.Optimizer):
    """Sign momentum with decoupled weight decay (Chen et al. 2023, program 1).

    Every weight moves by `lr`, so learning rates should be 3 to 10 times lower than AdamW's and weight decay as much
    higher.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.1
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            fast, slow = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                weight, gradient, buffer = (
                    local_shard(parameter),
                    local_shard(parameter.grad),
                    local_shard(state["momentum_buffer"]),
                )
                direction = buffer.lerp(gradient, 1 - fast).sign_()
                weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"])
                buffer.lerp_(gradient, 1 - slow)
