"""The feed-forward part of a block: plain or gated, with the usual activations."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model.autocast import cast_once
from tutelage.model.config import ModelConfig
from tutelage.model.packed import Product


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _relu2(x: Tensor) -> Tensor:
    return F.relu(x).square()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "relu2": _relu2,  # So et al. 2021
}
_SWISH_ALPHA, _SWISH_LIMIT = 1.702, 7.0  # GPT-OSS


def gate(activation: str, gated: Tensor, up: Tensor) -> Tensor:
    """activation(gated) * up: SwiGLU with silu, GeGLU with gelu (Shazeer 2020), GPT-OSS's clamped variant."""
    if activation == "clamped_swish":
        gated, up = gated.clamp(max=_SWISH_LIMIT), up.clamp(-_SWISH_LIMIT, _SWISH_LIMIT)
        return gated * torch.sigmoid(_SWISH_ALPHA * gated) * (up + 1)
    return ACTIVATIONS[activation](gated) * up


class FeedForward(nn.Module):
    """down(activation(gate(x)) * up(x)), or ungated down(activation(up(x)))."""

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__()
        self.activation, self.gated = config.activation, config.gated
        if config.gated:
            self.gate_proj = nn.Linear(config.hidden_size, size, bias=config.mlp_bias)
        self.up_proj = nn.Linear(config.hidden_size, size, bias=config.mlp_bias)
        self.down_proj = nn.Linear(size, config.hidden_size, bias=config.mlp_bias)
        self.gate_up_proj: Product | None = None  # replaces the two in inference-only models (`model.pack`)

    def forward(self, x: Tensor) -> Tensor:
        if self.gate_up_proj is not None:
            return self.down_proj(gate(self.activation, *self.gate_up_proj.product(x).chunk(2, dim=-1)))
        if self.gated:
            x = cast_once(x)
            return self.down_proj(gate(self.activation, self.gate_proj(x), self.up_proj(x)))
        return self.down_proj(ACTIVATIONS[self.activation](self.up_proj(x)))
