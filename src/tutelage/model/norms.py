"""Normalisation: RMSNorm and LayerNorm."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model.config import ModelConfig


class RMSNorm(nn.RMSNorm):
    """RMSNorm, computed in float32 if input and weight differ in dtype (a float32 weight under autocast).

    PyTorch has no fused kernel for mixed dtypes and warns about it. The output has the input's dtype, as in
    transformers' Llama for equal dtypes.
    """

    def forward(self, x: Tensor) -> Tensor:
        assert self.eps is not None
        if x.dtype == self.weight.dtype:
            return rms_norm(x, self.weight, self.eps)
        return rms_norm(x.float(), self.weight.float(), self.eps).type_as(x)


class OffsetRMSNorm(nn.Module):
    """RMSNorm whose stored weight is the scale minus one (Gemma, Qwen3-Next), so that zero is the identity."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x.float(), 1.0 + self.weight.float(), self.eps).type_as(x)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang and Sennrich 2019), in one dtype."""
    if x.device.type == "cpu" and type(x) is Tensor:  # and not a DTensor
        if not torch.is_grad_enabled():
            return (x * x.square().mean(-1, keepdim=True).add_(eps).rsqrt_()).mul_(weight)
        out: Tensor = _RMSNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
        return out
    return F.rms_norm(x, weight.shape, weight, eps)


def rms_norm_only(x: Tensor, weight: Tensor, eps: Tensor) -> Tensor:
    """`rms_norm` with fewer calls, equal up to rounding, because decoding calls it twice per layer and token."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return (x * torch.addcmul(eps, length, length, value=1 / x.shape[-1]).rsqrt_()).mul_(weight)


class _RMSNorm(torch.autograd.Function):
    """RMSNorm for a CPU, where PyTorch composes it of small operations: half the memory passes, fewer stored
    tensors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        root = x.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, root)
        return (x * root).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        x, weight, root = ctx.saved_tensors
        normed = x * root
        product = (grads[0] * normed).flatten(0, -2)
        along = (product @ weight).div_(x.shape[-1]).view(root.shape)
        of_x = torch.addcmul(grads[0] * weight, normed, along, value=-1).mul_(root)
        return of_x, product.sum(0), None


def make_norm(config: ModelConfig, dim: int) -> nn.Module:
    """Build the configured norm over `dim`."""
    if config.norm == "layernorm":
        return nn.LayerNorm(dim, eps=config.norm_eps)
    if config.norm_offset:
        return OffsetRMSNorm(dim, config.norm_eps)
    return RMSNorm(dim, eps=config.norm_eps)
