"""Muon: orthogonalised momentum, for the matrices inside the blocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tutelage.training.distributed.dtensor import gather, local_shard, shard_like

# Quintic Newton-Schulz iteration with maximal slope at zero (Jordan 2024, "Muon").
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """Orthogonalise matrices [n, rows, columns] approximately (singular values near 1), in the given precision."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum, scaled to the RMS of AdamW's update (Moonlight, section 2.2).

    For matrices and stacks of them [n, rows, columns] (experts). Matrices of the same shape, up to transposition, are
    batched and orthogonalised in `precision`: bfloat16 is sufficient (Jordan 2024), but slower where it is emulated.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, weight_decay: float = 0.1, momentum: float = 0.95,
        precision: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.precision = precision

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            learned = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not learned:
                continue
            own = [local_shard(parameter) for parameter in learned]
            momenta = self._momenta(learned, group["momentum"])
            torch._foreach_mul_(own, 1 - group["lr"] * group["weight_decay"])
            for shape, places in self._by_shape(learned).items():
                # Each rank orthogonalises the full matrix and keeps its shard.
                wide = [_wide(gather(momenta[place]).to(self.precision)) for place in places]
                updates = orthogonalise(torch.stack(wide).flatten(0, -3)).unflatten(0, (len(places), -1))
                rate = group["lr"] * 0.2 * max(shape[-2:]) ** 0.5
                for place, update in zip(places, updates, strict=True):
                    parameter = learned[place]
                    update = update.mT if parameter.shape[-2] > parameter.shape[-1] else update
                    update = update.reshape(parameter.shape).to(parameter.dtype)
                    own[place].add_(shard_like(update, parameter), alpha=-rate)

    @staticmethod
    def _by_shape(parameters: list[Tensor]) -> dict[tuple[int, ...], list[int]]:
        """Indices of the parameters grouped by matrix shape, up to transposition."""
        found: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for place, parameter in enumerate(parameters):
            found[*parameter.shape[:-2], *sorted(parameter.shape[-2:])].append(place)
        return found

    def _momenta(self, parameters: list[Tensor], momentum: float) -> list[Tensor]:
        """Update the momentum with the gradients and return the Nesterov update."""
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        return list(torch._foreach_lerp(gradients, buffers, momentum))


def _wide(matrix: Tensor) -> Tensor:
    return matrix.mT if matrix.shape[-2] > matrix.shape[-1] else matrix
