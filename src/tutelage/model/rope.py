"""Rotary position embeddings and their scaling."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tutelage.model.config import ModelConfig, RopeScaling


def inverse_frequencies(config: ModelConfig, local: bool = False) -> tuple[Tensor, float]:
    """Angles per position, [rotary_dim / 2] float32, and the factor on cosines and sines (1 except for YaRN, LongRoPE).

    RoFormer, eq. 15; scaling as in `RopeScaling`. `local`: for layers with their own base.
    """
    dim = config.rotary_dim
    theta = config.rope_local_theta if local and config.rope_local_theta else config.rope_theta
    exponents = torch.arange(0, dim, 2, dtype=torch.float32) / dim
    scaling = None if local and config.rope_local_theta else config.rope_scaling
    if scaling is None:
        return 1.0 / theta**exponents, 1.0
    if scaling.kind == "ntk":
        return 1.0 / (theta * scaling.factor ** (dim / (dim - 2))) ** exponents, 1.0
    frequencies = 1.0 / theta**exponents
    if scaling.kind == "linear":
        return frequencies / scaling.factor, 1.0
    if scaling.kind == "llama3":
        return _llama3(frequencies, scaling), 1.0
    if scaling.kind == "yarn":
        return _yarn(theta, dim, scaling), _yarn_attention_factor(scaling)
    factors = torch.tensor(scaling.short_factors, dtype=torch.float32)
    return 1.0 / (factors * theta**exponents), _longrope_attention_factor(scaling)


def _llama3(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Llama 3.1: scales wavelengths beyond the original length and keeps short ones, with a ramp in between."""
    rotations = scaling.original_length * frequencies / (2 * math.pi)  # within the original length
    low, high = scaling.low_frequency, scaling.high_frequency
    kept = ((rotations - low) / (high - low)).clamp(0, 1)
    return frequencies * (kept + (1 - kept) / scaling.factor)


def _yarn(theta: float, dim: int, scaling: RopeScaling) -> Tensor:
    """NTK-by-parts (Peng et al. 2023, section 3.2): the ramp goes over the index of the frequency."""

    def index_of(rotations: float) -> float:
        return dim * math.log(scaling.original_length / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = index_of(scaling.beta_fast), index_of(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    stretched = ((torch.arange(dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    positions = theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    kept = 1 - stretched
    return 1.0 / (scaling.factor * positions) * (1 - kept) + 1.0 / positions * kept


def yarn_scale(factor: float, mscale: float = 1.0) -> float:
    """YaRN's temperature: 0.1 m ln(s) + 1 (Peng et al. 2023, eq. 22)."""
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def _yarn_attention_factor(scaling: RopeScaling) -> float:
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.mscale and scaling.mscale_all_dim:
        return yarn_scale(scaling.factor, scaling.mscale) / yarn_scale(scaling.factor, scaling.mscale_all_dim)
    return yarn_scale(scaling.factor)


def _longrope_attention_factor(scaling: RopeScaling) -> float:
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    return 1.0 if scaling.factor <= 1 else math.sqrt(1 + math.log(scaling.factor) / math.log(scaling.original_length))


def rotary_of(positions: Tensor, frequencies: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [B, 1, T, rotary_dim / 2], float32, of positions [B, T]."""
    angles = (positions[:, :, None].float() * frequencies)[:, None]
    return angles.cos() * factor, angles.sin() * factor


def widened(cosines: Tensor, sines: Tensor) -> tuple[Tensor, Tensor]:
    """For `rotate_widely`: each cosine twice, each sine negative and then positive, [B, 1, T, rotary_dim]."""
    return torch.cat([cosines, cosines], dim=-1), torch.cat([-sines, sines], dim=-1)


def rotate_widely(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """`rotate` for separate halves with a third of the calls, for decoding, where call overhead dominates.

    x [B, H, T, D]; cosines and sines as `widened`. Returns their dtype.
    """
    width = cosines.shape[-1]
    turned, rest = (x, None) if x.shape[-1] == width else x.split([width, x.shape[-1] - width], dim=-1)
    turned = turned.to(cosines.dtype)
    swapped = turned.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
    out = torch.addcmul(turned * cosines, swapped, sines)
    return out if rest is None else torch.cat([out, rest.to(out.dtype)], dim=-1)


def rotate(x: Tensor, cosines: Tensor, sines: Tensor, interleaved: bool = False) -> Tensor:
    """Rotate the first rotary_dim dimensions of each head by the position's angles. x [B, H, T, D].

    A rotated pair is half a rotary_dim apart, or adjacent (`interleaved`); in the latter case the output has the halves
    apart, which does not change products of queries and keys.
    """
    width = 2 * cosines.shape[-1]
    turned, rest = (x, None) if x.shape[-1] == width else x.split([width, x.shape[-1] - width], dim=-1)
    if interleaved:
        turned = torch.cat([turned[..., 0::2], turned[..., 1::2]], dim=-1)
    out: Tensor
    if torch.is_grad_enabled():
        out = _Rotate.apply(turned, cosines, sines)  # type: ignore[no-untyped-call]
    else:
        out = _turn(turned, cosines, sines)
    return out if rest is None else torch.cat([out, rest], dim=-1)


class _Rotate(torch.autograd.Function):
    """Its gradient is rotated back by the same angles, so x is not stored."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        ctx.save_for_backward(cosines, sines)
        return _turn(x, cosines, sines)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        cosines, sines = ctx.saved_tensors
        return _turn(grads[0], cosines, -sines), None, None


def _turn(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    first, second = x.to(torch.promote_types(x.dtype, cosines.dtype)).chunk(2, dim=-1)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    into_first, into_second = out.chunk(2, dim=-1)
    into_first.copy_(torch.addcmul(first * cosines, second, sines, value=-1))
    into_second.copy_(torch.addcmul(second * cosines, first, sines))
    return out
