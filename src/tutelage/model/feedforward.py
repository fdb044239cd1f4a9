"""The feed-forward part of a block: plain or gated, with the usual activations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model.autocast import cast_once
from tutelage.model.config import ModelConfig
from tutelage.model.packed import Product


def activate(activation: str, x: Tensor) -> Tensor:
    """One of the usual functions of each number; TorchScript runs it too."""
    if activation == "silu":
        return F.silu(x)
    if activation == "gelu":
        return F.gelu(x)
    if activation == "gelu_tanh":
        return F.gelu(x, approximate="tanh")
    if activation == "relu2":  # So et al. 2021
        return F.relu(x).square()
    raise ValueError("unknown activation: " + activation)


def gate(activation: str, gated: Tensor, up: Tensor) -> Tensor:
    """activation(gated) * up: SwiGLU with silu, GeGLU with gelu (Shazeer 2020), GPT-OSS's clamped variant."""
    if activation == "clamped_swish":
        gated, up = gated.clamp(max=7.0), up.clamp(-7.0, 7.0)
        return gated * torch.sigmoid(1.702 * gated) * (up + 1)
    return activate(activation, gated) * up


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
        return self.down_proj(activate(self.activation, self.up_proj(x)))
