"""Normalisation: RMSNorm and LayerNorm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model.config import ModelConfig


class RMSNorm(nn.RMSNorm):
    """RMSNorm in float32 where input and weight differ in dtype (a float32 weight under autocast).

    Torch has no fused kernel for mixed dtypes and warns of it. The output has the input's dtype, as in transformers'
    Llama for equal dtypes.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == self.weight.dtype:
            return super().forward(x)
        return F.rms_norm(x.float(), self.normalized_shape, self.weight.float(), self.eps).type_as(x)


class OffsetRMSNorm(nn.Module):
    """RMSNorm whose stored weight is the scale less one (Gemma, Qwen3-Next), so that zero means: leave it."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, 1.0 + self.weight.float(), self.eps).type_as(x)


def make_norm(config: ModelConfig, dim: int) -> nn.Module:
    """The norm over `dim` that the config names."""
    if config.norm == "layernorm":
        return nn.LayerNorm(dim, eps=config.norm_eps)
    if config.norm_offset:
        return OffsetRMSNorm(dim, config.norm_eps)
    return RMSNorm(dim, eps=config.norm_eps)
