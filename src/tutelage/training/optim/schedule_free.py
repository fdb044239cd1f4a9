"""Schedule-free AdamW: weight averaging instead of learning-rate decay."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from tutelage.training.distributed.dtensor import local_shard


class ScheduleFreeAdamW(torch.optim.Optimizer):
    """AdamW at y = (1 - beta1) z + beta1 x, z being the iterate and x its average (Defazio et al. 2024, algorithm 1).

    The model's weights are y in training; x is evaluated and kept. A step's weight in the average is the square of the
    largest rate so far, so warmup steps count little. Weight decay acts at y.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, betas: tuple[float, float] = (0.9, 0.99), eps: float = 1e-8,
        weight_decay: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state |= {"step": 0, "weight_sum": 0.0, "largest_rate": 0.0, "z": parameter.detach().clone(),
                              "exp_avg_sq": torch.zeros_like(parameter)}  # fmt: skip
                state["step"] += 1
                state["largest_rate"] = max(state["largest_rate"], group["lr"])
                weight = state["largest_rate"] ** 2
                state["weight_sum"] += weight
                share = weight / state["weight_sum"] if weight else 0.0
                y, z, squares = local_shard(parameter), local_shard(state["z"]), local_shard(state["exp_avg_sq"])
                gradient = local_shard(parameter.grad)
                squares.lerp_(gradient.square(), 1 - beta2)
                scale = (squares / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
                update = (gradient / scale).add_(y, alpha=group["weight_decay"])
                y.lerp_(z, share).add_(update, alpha=group["lr"] * (beta1 * (1 - share) - 1))
                z.sub_(update, alpha=group["lr"])

    @torch.no_grad()
    def average(self) -> list[tuple[Tensor, Tensor]]:
        """Each weight with optimizer state, with its x."""
        found = []
        for group in self.param_groups:
            beta1 = group["betas"][0]
            for parameter in group["params"]:
                if self.state.get(parameter):
                    y, z = local_shard(parameter), local_shard(self.state[parameter]["z"])
                    found.append((y, (y - (1 - beta1) * z) / beta1))
        return found


@contextlib.contextmanager
def averaged(optimizers: list[torch.optim.Optimizer]) -> Iterator[None]:
    """Context in which the weights are x; afterwards they are restored exactly."""
    swapped: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for weight, x in _averages(optimizers):
            swapped.append((weight, weight.clone()))
            weight.copy_(x)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, y in swapped:
                weight.copy_(y)


@torch.no_grad()
def keep_average(optimizers: list[torch.optim.Optimizer]) -> None:
    """Set the weights to x permanently, at the end of training."""
    for weight, x in _averages(optimizers):
        weight.copy_(x)


def _averages(optimizers: list[torch.optim.Optimizer]) -> Iterator[tuple[Tensor, Tensor]]:
    for optimizer in optimizers:
        if isinstance(optimizer, ScheduleFreeAdamW):
            yield from optimizer.average()
