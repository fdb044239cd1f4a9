"""Muon: momentum whose update is orthogonalised, for the matrices inside the blocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tutelage.training.distributed.dtensor import gather, local_shard, shard_like

# Quintic Newton-Schulz iteration whose slope at zero is as steep as possible (Jordan 2024, "Muon").
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """Replace the singular values of matrices [n, rows, columns] by values near 1, in the given precision.

    torch's own Muon works in bfloat16, which costs a quarter of a step on a CPU that does not multiply in it.
    """
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, scaled to the size of AdamW's update (Moonlight, section 2.2).

    For matrices, and for stacks of them [n, rows, columns] (experts). Those of one shape are orthogonalised together.
    """

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float = 0.1, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                # Of a sharded matrix, each rank orthogonalises the whole and keeps its shard.
                updates = torch.stack(
                    [gather(self._momentum(parameter, group["momentum"])) for parameter in parameters]
                )
                updates = orthogonalise(updates.flatten(0, -3)).reshape(updates.shape)
                rate = group["lr"] * 0.2 * max(shape[-2:]) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    own = local_shard(parameter)
                    own.mul_(1 - group["lr"] * group["weight_decay"]).add_(shard_like(update, parameter), alpha=-rate)

    def _momentum(self, parameter: Tensor, momentum: float) -> Tensor:
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        buffer.lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(buffer, momentum)
