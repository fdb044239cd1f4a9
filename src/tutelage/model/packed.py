"""Linear layers for using a model and not for training it: weights in 4 or 8 bits, products in bfloat16.

The kernels are torch's own for a CPU. Each row of x is computed alike whatever stands beside it, so that an answer
does not depend on what else is generated at the time.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model.products import GROUP, Parts, multiply
from tutelage.model.room import room

MANY = 32  # tokens of a text read at once from which on it pays to make the matrix dense first
_ENGINE = "fbgemm"  # products of 8-bit integers on x86
_CHUNK = 1 << 17  # weights made dense at once, so that the pieces stay in the processor's cache


@dataclass(frozen=True)
class Blocks:
    """A matrix [out, in] in 4 bits: codes [out, in / 2] uint8, of two neighbours the first in the low half; scale and
    offset [out, in / 32] float32. A weight is code * scale + offset."""

    codes: Tensor
    scale: Tensor
    offset: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> Blocks:
        """The nearest codes between the least and the largest weight of each group, as in GGUF's Q4_1."""
        groups = weight.detach().float().unflatten(-1, (-1, GROUP))
        least, most = groups.aminmax(dim=-1)
        scale = (most - least) / 15
        codes = ((groups - least[..., None]) / scale.clamp(min=1e-30)[..., None]).round_().clamp_(0, 15)
        pairs = codes.to(torch.uint8).view(len(weight), -1, 2)
        return cls(pairs[..., 0] | pairs[..., 1] << 4, scale, least)

    @classmethod
    def joined(cls, parts: Sequence[Blocks]) -> Blocks:
        """The rows of several matrices one after the other."""
        return cls(
            torch.cat([part.codes for part in parts]),
            torch.cat([part.scale for part in parts]),
            torch.cat([part.offset for part in parts]),
        )

    @property
    def shape(self) -> tuple[int, int]:
        return self.codes.shape[0], 2 * self.codes.shape[1]

    def rows(self, index: Tensor) -> Blocks:
        return Blocks(self.codes[index], self.scale[index], self.offset[index])

    def dense(self) -> Tensor:
        """The matrix, float32."""
        return self._into(torch.empty(self.shape))

    def passing(self) -> Tensor:
        """The matrix in bfloat16, good until this thread asks for another."""
        count, width = self.shape
        return self._into(room(count * width, torch.bfloat16)[: count * width].view(count, width))

    def _into(self, out: Tensor) -> Tensor:
        """Computed in float32 and rounded once."""
        count, width = self.shape
        for begin in range(0, count, max(1, _CHUNK // width)):
            piece = slice(begin, begin + max(1, _CHUNK // width))
            pairs = _pairs().index_select(0, self.codes[piece].flatten().int())
            values = pairs.view(torch.float32).view(-1, width // GROUP, GROUP)
            dense = torch.addcmul(self.offset[piece, :, None], values, self.scale[piece, :, None])
            out[piece] = dense.view(-1, width)
        return out


class Product(nn.Module, ABC):
    """x W^T + bias, with x [.., rows, in_features] and the result [.., rows, out_features]."""

    in_features: int
    out_features: int
    bias: Tensor | None
    parts: Parts  # for few rows

    @abstractmethod
    def product(self, x: Tensor) -> Tensor:
        """In the dtype in which it is made, bfloat16 or float32."""

    def few(self, x: Tensor) -> Tensor:
        """`product` of few rows [rows, in_features]."""
        return multiply(x, self.parts)

    def forward(self, x: Tensor) -> Tensor:
        """In float32."""
        return self.product(x).float()

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class PackedLinear(Product):
    """x W^T + bias with W in 4 bits, x and the product in bfloat16, the bias in float32.

    Few tokens of each text (decoding) are multiplied by the packed weights; many (a prompt) by the matrix made dense
    for the moment, which is faster from some 32 on. Raises ValueError for a shape that the kernel does not take.
    """

    def __init__(self, blocks: Blocks, bias: Tensor | None = None) -> None:
        super().__init__()
        if not packs(*blocks.shape):
            raise ValueError(f"a matrix of shape {list(blocks.shape)} cannot be packed")
        self.blocks, self.out_features, self.in_features = blocks, *blocks.shape
        low, high = blocks.codes & 15, blocks.codes >> 4
        codes = torch.stack([low, high], dim=-1).flatten(1).int()
        packed = torch._convert_weight_to_int4pack_for_cpu(codes, 1)
        # The kernel's weight is (code - 8) * scale + zero.
        zero = blocks.offset + 8 * blocks.scale
        scales = torch.stack([blocks.scale, zero], dim=-1).transpose(0, 1).contiguous().bfloat16()
        self.bias = _bias(bias)
        # Plain attributes: a buffer is looked up ten times as slowly, a hundred times for every token.
        self.parts = Parts(packed, scales, None, self.bias)

    def product(self, x: Tensor) -> Tensor:
        if x.shape[-2] < MANY:
            return self.few(x.reshape(-1, self.in_features)).view(*x.shape[:-1], self.out_features)
        out = F.linear(x.bfloat16(), self.blocks.passing())
        return out if self.bias is None else out + self.bias

    def dense(self) -> Tensor:
        """The matrix, float32."""
        return self.blocks.dense()


class ByteLinear(Product):
    """x W^T + bias with a row of W as 8-bit integers and one scale; float32 in and out.

    x is two 8-bit integers a number, coarse and fine, so that products are exact sums of integers and what is lost is
    that of W alone. Elsewhere than on x86 x is bfloat16.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        weight = weight.detach().float()
        self.out_features, self.in_features = weight.shape
        scale = weight.abs().amax(1).clamp(min=1e-30) / 127
        self._exact = _ENGINE in torch.backends.quantized.supported_engines
        if not self._exact:  # the other kernel's scale is bfloat16: codes are found for the scale as it will be
            scale = scale.bfloat16().float()
        codes = (weight / scale[:, None]).round_().clamp_(-127, 127).to(torch.int8)
        self.bias = _bias(bias)
        if self._exact:
            self.parts = Parts(prepacked=_prepacked(codes, scale), bias=self.bias)
        else:
            self.parts = Parts(codes, scale.bfloat16(), None, self.bias)

    def product(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, self.in_features)
        return self.few(flat).view(*x.shape[:-1], self.out_features)

    def dense(self) -> Tensor:
        """The matrix, float32."""
        weight, scales, prepacked, _ = self.parts
        if weight is not None and scales is not None:
            return weight.float() * scales.float()[:, None]
        return torch.ops.quantized.linear_unpack(prepacked)[0].dequantize()[:, :-2]  # type: ignore[no-any-return]


class HalfLinear(Product):
    """x W^T + bias with W, x and the product in bfloat16, the bias in float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.weight, self.bias = weight.detach().bfloat16(), _bias(bias)
        self.parts = Parts(self.weight, None, None, self.bias)

    def product(self, x: Tensor) -> Tensor:
        return self.few(x)

    def dense(self) -> Tensor:
        """The matrix, float32."""
        return self.weight.float()


def _prepacked(codes: Tensor, scale: Tensor) -> Any:
    """A matrix of 8-bit integers as torch's quantised products want it, two columns of zeros added."""
    engine = torch.backends.quantized.engine
    try:
        torch.backends.quantized.engine = _ENGINE
        zeros = torch.zeros(len(codes), dtype=torch.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch means to move these calls elsewhere one day
            weight = torch._make_per_channel_quantized_tensor(F.pad(codes, (0, 2)), scale.double(), zeros, 0)
            return torch.ops.quantized.linear_prepack(weight, None)
    finally:
        torch.backends.quantized.engine = engine


def _bias(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.detach().float()


def packs(rows: int, columns: int) -> bool:
    """Whether the 4-bit kernel takes a matrix of this shape."""
    return rows % 16 == 0 and columns % GROUP == 0


def kernels_are_fast(device: torch.device) -> bool:
    """Whether torch's packed products are made for this processor; elsewhere they are far slower than dense ones."""
    return device.type == "cpu" and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


@cache
def _pairs() -> Tensor:
    """The two values that each byte stands for, [256]: as one number of 8 bytes, which is found four times as fast."""
    byte = torch.arange(256)
    return torch.stack([(byte & 15).float(), (byte >> 4).float()], dim=1).view(torch.float64).flatten()
