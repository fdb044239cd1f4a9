"""SOAP: Adam in the eigenbasis of Shampoo's preconditioners, for the matrices inside the blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tutelage.training.distributed.dtensor import gather, local_shard, shard_like

REFRESH_EVERY = 10  # steps between updates of the basis (Vyas et al. 2024, section 6.3)
ROUNDING = 1e-6  # relative to the gradient's norm: float32 rounding error where a rotated matrix should be zero
LIMIT = 10.0  # largest element of a normalised update
LARGEST = 8192  # longer sides are not rotated: the basis would cost more than the matrix


class SOAP(torch.optim.Optimizer):
    """Adam in the eigenbasis of G G' and G' G (Vyas et al. 2024, algorithm 3).

    For matrices and stacks of them [n, rows, columns] (experts). The first gradient only initialises the basis: rotated
    into its own basis it would be noise except for a few directions. Later the basis is updated by one power iteration
    and a QR decomposition every `REFRESH_EVERY` steps. `lr` and the decoupled weight decay are AdamW's.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, betas: tuple[float, float] = (0.95, 0.95), eps: float = 1e-8,
        weight_decay: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                gradient = gather(parameter.grad).float()  # each rank computes the full matrix
                if not state:
                    self._begin(state, parameter, gradient, group["betas"][1])
                    continue
                update = _update(state, parameter, gradient, group["betas"], group["eps"])
                own = local_shard(parameter)
                own.mul_(1 - group["lr"] * group["weight_decay"])
                own.add_(shard_like(update, parameter), alpha=-group["lr"])

    def _begin(self, state: dict[str, Any], parameter: Tensor, gradient: Tensor, beta2: float) -> None:
        state |= {"step": 0, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
        for side, product in _products(gradient).items():
            state[side] = product * (1 - beta2)
            state[f"{side}_basis"] = torch.linalg.eigh(product).eigenvectors.flip(-1).contiguous()


def _update(
    state: dict[str, Any], parameter: Tensor, gradient: Tensor, betas: tuple[float, float], eps: float
) -> Tensor:
    """The update of one full matrix; state of its shape is sharded like the matrix."""
    assert parameter.grad is not None
    beta1, beta2 = betas
    state["step"] += 1
    count = state["step"]
    local_shard(state["exp_avg"]).lerp_(local_shard(parameter.grad), 1 - beta1)
    products = _products(gradient)
    bases = {side: gather(state[f"{side}_basis"]) for side in products}
    squares = gather(state["exp_avg_sq"]).lerp(turn(gradient, bases).square(), 1 - beta2)
    momentum = turn(gather(state["exp_avg"]), bases) / (1 - beta1**count)
    update = turn(normalised(momentum, squares / (1 - beta2**count), eps), bases, back=True)
    for side, product in products.items():
        state[side] = gather(state[side]).lerp(product, 1 - beta2)
        if count % REFRESH_EVERY == 0:
            state[f"{side}_basis"], order = refreshed(state[side], bases[side])
            squares = _reordered(squares, order, -2 if side == "left" else -1)
    local_shard(state["exp_avg_sq"]).copy_(shard_like(squares, parameter))
    return update


def normalised(momentum: Tensor, squares: Tensor, eps: float) -> Tensor:
    """momentum / (sqrt(squares) + eps), as in Adam, but safe in directions without gradient.

    There the second moment is 0, or below the rounding error of the rotated momentum, and the ratio is meaningless: the
    denominator is at least `ROUNDING` times the gradient's norm. After a basis update the momentum may also point in
    directions without second moment: an element moves by at most `LIMIT` (Adam's own bound is 1 for equal betas and a
    fixed basis).
    """
    scale = squares.sum((-2, -1), keepdim=True).sqrt_()
    denominator = torch.maximum(squares.sqrt().add_(eps), scale.mul_(ROUNDING).add_(eps))
    return (momentum / denominator).clamp_(-LIMIT, LIMIT)


def _products(gradient: Tensor) -> dict[str, Tensor]:
    """G G' and G' G, for the sides that are rotated."""
    products = {}
    if gradient.shape[-2] <= LARGEST:
        products["left"] = gradient @ gradient.mT
    if gradient.shape[-1] <= LARGEST:
        products["right"] = gradient.mT @ gradient
    return products


def turn(matrix: Tensor, bases: dict[str, Tensor], back: bool = False) -> Tensor:
    """left' M right, or the inverse left M right'; a side without a basis is not rotated."""
    if "left" in bases:
        matrix = (bases["left"] if back else bases["left"].mT) @ matrix
    if "right" in bases:
        matrix = matrix @ (bases["right"].mT if back else bases["right"])
    return matrix


def refreshed(product: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """The basis after one power iteration on `product` [.., n, n], and the permutation of its columns.

    Columns are sorted by estimated eigenvalue, largest first, so that QR keeps the large ones separate.
    """
    values = (basis * (product @ basis)).sum(-2)  # [.., n]
    order = values.argsort(stable=True, dim=-1, descending=True)
    return torch.linalg.qr(product @ _reordered(basis, order, -1)).Q.contiguous(), order


def _reordered(matrix: Tensor, order: Tensor, dim: int) -> Tensor:
    index = order[..., None] if dim == -2 else order[..., None, :]
    return matrix.gather(dim, index.expand(matrix.shape))
