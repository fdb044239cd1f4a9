"""Frozen 4-bit matrices: QLoRA's NormalFloat code, dequantised for each product and never stored dense.

Dettmers et al. 2023 (arXiv 2305.14314): the 16 values are those of appendix E, the blocks have 64 weights, and the
scales of the blocks may themselves be stored in 8 bits ("double quantisation", section 3). Layout and rounding are
those of bitsandbytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model.lora_config import Quantisation
from tutelage.model.room import room

CODE = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
BLOCK = 64  # weights per scale
GROUP = 256  # scales per second-level scale, with double quantisation
_CHUNK = 1 << 17  # weights per chunk on the CPU, to stay in cache; a multiple of BLOCK


def quantise(weight: Tensor, double: bool = False) -> dict[str, Tensor]:
    """A matrix [out, in] in NF4: `codes` uint8 (two weights a byte, the first one in the high half) and the blocks'
    largest magnitudes, `absmax` float32.

    Blocks run through the matrix row by row; the last one is zero-padded. `double`: instead of `absmax`, its mean and
    the deviations from it in 8 bits: `absmax_codes`, `absmax_scales`, `absmax_mean`.
    """
    flat = weight.detach().flatten()
    codes, scales = [], []
    edges = _edges(CODE, flat.device)
    for piece in flat.split(_CHUNK):
        blocks = F.pad(piece.float(), (0, -len(piece) % BLOCK)).view(-1, BLOCK)
        absmax = blocks.abs().amax(1)
        nearest = torch.bucketize(blocks / absmax.clamp(min=1e-38)[:, None], edges, out_int32=True).to(torch.uint8)
        halves = nearest.view(-1, 2)
        codes.append(halves[:, 0] << 4 | halves[:, 1])
        scales.append(absmax)
    found = {"codes": torch.cat(codes), "absmax": torch.cat(scales)}
    return {"codes": found["codes"], **_quantise_scales(found["absmax"])} if double else found


def dequantise(
    parts: Mapping[str, Tensor], shape: torch.Size, dtype: torch.dtype = torch.float32, room: Tensor | None = None
) -> Tensor:
    """Dequantise a matrix [out, in] from `quantise`, computed in float32 and rounded to `dtype`.

    room: output buffer on the CPU with at least two values per byte of codes; by default new memory is allocated.
    """
    codes, absmax, count = parts["codes"], _scales(parts), shape.numel()
    pairs = _pairs(codes.device)
    if codes.device.type != "cpu":
        values = pairs.index_select(0, codes.int()).view(torch.float32).view(-1, BLOCK) * absmax[:, None]
        return values.to(dtype).flatten()[:count].view(shape)
    out = torch.empty(2 * len(codes), dtype=dtype) if room is None else room[: 2 * len(codes)]
    for piece, bytes_, scales in zip(
        out.split(_CHUNK), codes.split(_CHUNK // 2), absmax.split(_CHUNK // BLOCK), strict=True
    ):
        values = pairs.index_select(0, bytes_.int()).view(torch.float32).view(-1, BLOCK)
        torch.mul(values, scales[:, None], out=piece.view(-1, BLOCK))
    return out[:count].view(shape)


def part_shapes(shape: torch.Size, double: bool) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that `quantise` returns for a matrix of this shape."""
    blocks = -(-shape.numel() // BLOCK)
    codes = {"codes": (blocks * BLOCK // 2,)}
    if not double:
        return {**codes, "absmax": (blocks,)}
    return {**codes, "absmax_codes": (blocks,), "absmax_scales": (-(-blocks // GROUP),), "absmax_mean": ()}


def stored_bytes(shape: torch.Size, double: bool) -> int:
    """Bytes of a matrix, or of a stack of them, in NF4: about 4.5 bits a weight, 4.13 with double quantisation."""
    one = {"codes": 1, "absmax_codes": 1}
    stack, matrix = shape[:-2].numel(), torch.Size(shape[-2:])
    sizes = part_shapes(matrix, double).items()
    return stack * sum(torch.Size(size).numel() * one.get(name, 4) for name, size in sizes)


@cache
def dynamic_code() -> tuple[float, ...]:
    """The 256 values of the signed 8-bit code of the scales: for each power of ten from 1e-6 to 1 twice as many equal
    steps as for the one before; 0 and 1 (Dettmers 2016, arXiv 1511.04561, "dynamic tree")."""
    found = [0.0, 1.0]
    for power in range(7):
        bounds = torch.linspace(0.1, 1, 2**power + 1)
        means = ((bounds[:-1] + bounds[1:]) / 2 * 10.0 ** (power - 6)).tolist()
        found += [sign * mean for mean in means for sign in (1, -1)]
    return tuple(sorted(found))


@dataclass(frozen=True)
class Packed:
    """One matrix [out, in] in NF4, as its parts."""

    shape: torch.Size
    parts: Mapping[str, Tensor]

    def dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        return dequantise(self.parts, self.shape, dtype)

    def passing(self, dtype: torch.dtype) -> Tensor:
        """The dense matrix in a buffer that is valid until this thread's next call; on the CPU it is reused."""
        codes = self.parts["codes"]
        if codes.device.type != "cpu":
            return self.dense(dtype)
        return dequantise(self.parts, self.shape, dtype, room(2 * len(codes), dtype))

    def linear(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x W^T + bias; the weight is dequantised here and again for the gradient of x, and not stored."""
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        out: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        return out if bias is None else out + bias.to(out.dtype)


class NF4Weight(nn.Module):
    """A frozen matrix [out, in], or a stack of them [experts, out, in], stored in NF4.

    Its parts are frozen parameters, so that they are part of a run's fingerprint but not of checkpoints. In a stack,
    each matrix is stored as it would be alone.
    """

    def __init__(self, shape: torch.Size, parts: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.shape = shape
        for name, value in parts.items():
            self.register_parameter(name, nn.Parameter(value, requires_grad=False))

    @classmethod
    def of(cls, weight: Tensor, kind: Quantisation) -> NF4Weight:
        double = kind == "nf4_double"
        if weight.dim() == 2:
            return cls(weight.shape, quantise(weight, double))
        each = [quantise(matrix, double) for matrix in weight]
        return cls(weight.shape, {name: torch.stack([parts[name] for parts in each]) for name in each[0]})

    @property
    def device(self) -> torch.device:
        return self.get_parameter("codes").device

    def packed(self, expert: int | None = None) -> Packed:
        parts = dict(self.named_parameters())
        if expert is None:
            return Packed(self.shape, parts)
        return Packed(torch.Size(self.shape[-2:]), {name: value[expert] for name, value in parts.items()})

    def linear(self, expert: int, x: Tensor, bias: Tensor | None) -> Tensor:
        """x W^T + bias with one matrix of the stack."""
        return self.packed(expert).linear(x, bias)

    def dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The full weight, dequantised."""
        if len(self.shape) == 2:
            return self.packed().dense(dtype)
        return torch.stack([self.packed(expert).dense(dtype) for expert in range(self.shape[0])])

    def extra_repr(self) -> str:
        return f"{list(self.shape)}, {'double' if 'absmax_mean' in dict(self.named_parameters()) else 'single'}"


class NF4Linear(nn.Module):
    """A frozen linear layer with its weight in NF4; the bias is unchanged."""

    bias: Tensor | None

    def __init__(self, weight: NF4Weight, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = weight
        self.register_parameter("bias", bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.packed().linear(x, self.bias)


class _Product(torch.autograd.Function):
    """x W^T without storing W."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Packed) -> Tensor:
        ctx.weight = weight
        return F.linear(x, weight.passing(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return gradient @ ctx.weight.passing(gradient.dtype), None


def _quantise_scales(absmax: Tensor) -> dict[str, Tensor]:
    mean = absmax.mean()
    groups = F.pad(absmax - mean, (0, -len(absmax) % GROUP)).view(-1, GROUP)
    scales = groups.abs().amax(1)
    edges = _edges(dynamic_code(), absmax.device)
    codes = torch.bucketize(groups / scales.clamp(min=1e-38)[:, None], edges).to(torch.uint8)
    return {"absmax_codes": codes.flatten()[: len(absmax)], "absmax_scales": scales, "absmax_mean": mean}


def _scales(parts: Mapping[str, Tensor]) -> Tensor:
    if "absmax" in parts:
        return parts["absmax"]
    codes = parts["absmax_codes"]
    values = torch.tensor(dynamic_code(), device=codes.device)[codes.int()]
    return values * parts["absmax_scales"].repeat_interleave(GROUP)[: len(codes)] + parts["absmax_mean"]


def _edges(code: tuple[float, ...], device: torch.device) -> Tensor:
    """The decision boundaries between neighbouring values of a code."""
    values = torch.tensor(code, device=device)
    return (values[:-1] + values[1:]) / 2


@cache
def _pairs(device: torch.device) -> Tensor:
    """The two values of each byte, [256], stored as one 8-byte number, which makes the look-up four times as fast."""
    code = torch.tensor(CODE, device=device)
    byte = torch.arange(256, device=device)
    return torch.stack([code[byte >> 4], code[byte & 15]], dim=1).view(torch.float64).flatten()
