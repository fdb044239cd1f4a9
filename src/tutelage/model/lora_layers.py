"""Layers with a low-rank adapter: a linear layer, or the matrices of all experts of a layer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model.adaptable import dense
from tutelage.model.nf4 import NF4Linear, NF4Weight
from tutelage.store.errors import ConfigError


@dataclass(frozen=True)
class Adapter:
    """Settings of one projection's adapter; see `LoraConfig`."""

    rank: int
    alpha: float
    dropout: float = 0.0
    rslora: bool = False
    dora: bool = False
    init: Literal["zero", "pissa"] = "zero"
    svd_iterations: int = 16
    b_rate: float = 1.0

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


class Adapted(nn.Module):
    """A frozen weight W [..., out, in], dense or in 4 bits, with the low-rank update scale * B A.

    Reuses the parameters of the layer it replaces. A [..., rank, in] is initialised as in PEFT (Kaiming-uniform, a =
    sqrt(5)), B [..., out, rank] is zero; both are float32 for any base dtype, as in PEFT. With PiSSA they start as W's
    principal components; W is then the residual, and `start_A`, `start_B` store the initial values.
    """

    weight: Tensor | NF4Weight
    lora_A: Tensor
    lora_B: Tensor
    start_A: Tensor | None
    start_B: Tensor | None
    cast_weight: Tensor | None = None  # W in autocast's dtype, cast once (`cast_frozen`)

    def __init__(self, weight: Tensor | NF4Weight, adapter: Adapter, generator: torch.Generator) -> None:
        super().__init__()
        self.adapter = adapter
        self.weight = weight
        *stack, outputs, inputs = weight.shape
        matrices = []
        for _ in range(math.prod(stack)):
            matrix = torch.empty(adapter.rank, inputs)
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5), generator=generator)
            matrices.append(matrix)
        down = torch.stack(matrices).view(*stack, adapter.rank, inputs)
        self.lora_A = nn.Parameter(down.to(weight.device))
        self.lora_B = nn.Parameter(torch.zeros(*stack, outputs, adapter.rank, device=weight.device))
        self.register_parameter("start_A", None)
        self.register_parameter("start_B", None)

    @torch.no_grad()
    def begin_with(self, down: Tensor, up: Tensor) -> None:
        """Initialise B A = `up` `down` (PiSSA, eq. 2 to 4) and set the frozen weight to the residual, a new tensor."""
        place = self.lora_A.device
        self.lora_A.copy_(down)
        self.lora_B.copy_(up)
        self.start_A = nn.Parameter(down.to(place), requires_grad=False)
        self.start_B = nn.Parameter(up.to(place), requires_grad=False)
        weight = dense(self.weight)
        left = weight.float() - self.adapter.scale * (self.lora_B @ self.lora_A)
        self.weight = nn.Parameter(left.to(weight.dtype), requires_grad=False)

    def merged_weight(self) -> Tensor:
        """W plus the update, in W's dtype; float32 if W is in 4 bits."""
        return self._changed().to(_dense_dtype(self.weight))

    def _changed(self) -> Tensor:
        return dense(self.weight).float() + self.adapter.scale * (self.lora_B @ self.lora_A)

    def extra_repr(self) -> str:
        return f"{list(self.weight.shape)}, {self.adapter}"


class LoraLinear(Adapted):
    """A linear layer with an adapter: x W^T + scale * dropout(x) A^T B^T."""

    bias: Tensor | None
    lora_magnitude: Tensor | None

    def __init__(self, linear: nn.Linear | NF4Linear, adapter: Adapter, generator: torch.Generator) -> None:
        super().__init__(linear.weight, adapter, generator)
        self.training = linear.training
        self.bias = linear.bias
        magnitude = nn.Parameter(self._row_norms().clone()) if adapter.dora else None
        self.register_parameter("lora_magnitude", magnitude)

    def forward(self, x: Tensor) -> Tensor:
        lower = torch.is_autocast_enabled(x.device.type)
        out = _product(x, self.cast_weight if lower and self.cast_weight is not None else self.weight, self.bias)
        x = x if lower else x.to(self.lora_A.dtype)  # autocast would cast a float32 copy back
        dropped = F.dropout(x, self.adapter.dropout, self.training)
        change = self.adapter.scale * F.linear(F.linear(dropped, self.lora_A), self.lora_B)
        if self.lora_magnitude is not None:
            # The norm is detached from the gradient (DoRA, section 4.3).
            stretch = self.lora_magnitude / self._row_norms()
            change = (stretch - 1) * _product(dropped, self.weight, None) + stretch * change
        return out + change.to(out.dtype)

    def before(self, x: Tensor) -> Tensor:
        """The base layer's output, without the adapter."""
        out = _product(x, self.weight, self.bias)
        if self.start_A is None or self.start_B is None:
            return out
        begun = F.linear(F.linear(x.to(self.start_A.dtype), self.start_A), self.start_B)
        return out + (self.adapter.scale * begun).to(out.dtype)

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        weight = self._changed()
        if self.lora_magnitude is not None:
            weight = weight * (self.lora_magnitude / self._row_norms())[:, None]
        return weight.to(_dense_dtype(self.weight))

    def merged(self) -> nn.Linear:
        """An equivalent plain layer: the adapter merged into the weight, in the weight's dtype."""
        return plain_linear(self.merged_weight(), self.bias, self.training)

    @torch.no_grad()
    def _row_norms(self) -> Tensor:
        with torch.autocast(self.weight.device.type, enabled=False):
            return self._changed().norm(dim=1).clamp(min=1e-30)  # zero rows stay zero


class LoraExperts(Adapted):
    """The matrices of all experts of a layer, [experts, out, in], with an adapter on each."""

    def __init__(self, weight: Tensor | NF4Weight, adapter: Adapter, generator: torch.Generator) -> None:
        if adapter.dora or adapter.dropout:
            raise ConfigError(
                "experts do not support dora and dropout, as in PEFT",
                hint="leave them out, or set attention projections as targets",
            )
        super().__init__(weight, adapter, generator)

    def linear(self, expert: int, x: Tensor, bias: Tensor | None) -> Tensor:
        """x W^T + scale * x A^T B^T + bias of one expert."""
        return self._with(expert, x, bias, self.lora_A, self.lora_B)

    def before(self, expert: int, x: Tensor, bias: Tensor | None) -> Tensor:
        """The base output of `linear`, without the adapter."""
        return self._with(expert, x, bias, self.start_A, self.start_B)

    def _with(self, expert: int, x: Tensor, bias: Tensor | None, a: Tensor | None, b: Tensor | None) -> Tensor:
        if isinstance(self.weight, NF4Weight):
            out = self.weight.linear(expert, x, bias)
        else:
            out = F.linear(x, self.weight[expert], bias)
        if a is None or b is None:
            return out
        return out + (self.adapter.scale * F.linear(F.linear(x.to(a.dtype), a[expert]), b[expert])).to(out.dtype)


@contextlib.contextmanager
def cast_frozen(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Context in which products under autocast read a copy in `dtype` of each frozen matrix with an adapter: the same
    values, cast once instead of in every step, for 50 % more memory."""
    layers = [module for module in model.modules() if isinstance(module, LoraLinear)]
    plain = [one for one in layers if type(one.weight) is nn.Parameter and one.weight.dtype != dtype]
    for layer in plain:
        layer.cast_weight = dense(layer.weight).detach().to(dtype)
    try:
        yield
    finally:
        for layer in plain:
            layer.cast_weight = None


@torch.no_grad()
def principal_part(
    weight: Tensor, rank: int, scale: float, iterations: int = 0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """A [..., rank, in] and B [..., out, rank] such that scale * B A is the best rank-`rank` approximation of `weight`,
    with the square roots of the singular values in each (PiSSA, eq. 2 and 3).

    iterations: of randomised SVD with 8 oversampled directions (Halko et al. 2011, algorithm 4.4), drawn from `seed`;
    0: exact SVD.
    """
    if iterations and rank + 8 < min(weight.shape[-2:]):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            left, sizes, right = torch.svd_lowrank(weight, rank + 8, niter=iterations)
        right = right.mT
    else:
        left, sizes, right = torch.linalg.svd(weight, full_matrices=False)
    roots = (sizes[..., :rank] / scale).sqrt()
    return roots[..., :, None] * right[..., :rank, :], left[..., :, :rank] * roots[..., None, :]


def _dense_dtype(weight: Tensor | NF4Weight) -> torch.dtype:
    return torch.float32 if isinstance(weight, NF4Weight) else weight.dtype


def _product(x: Tensor, weight: Tensor | NF4Weight, bias: Tensor | None) -> Tensor:
    if isinstance(weight, NF4Weight):
        return weight.packed().linear(x, bias)
    return F.linear(x, weight.to(x.dtype), bias)


def plain_linear(weight: Tensor, bias: Tensor | None, training: bool) -> nn.Linear:
    outputs, inputs = weight.shape
    linear = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach())
    linear.bias = bias  # type: ignore[assignment]
    return linear.train(training)
