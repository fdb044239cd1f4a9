"""Attention on a CPU in blocks of queries, each against the keys that any of its queries may see.

Torch's own kernel there works through tiles so small that its matrix products reach a tenth of the machine's rate;
whole blocks in one batched product, whose scores still fit the cache, take half its time or less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BLOCK = 128  # queries of a block
CHUNK = 1 << 20  # scores made at once, of as many rows as fit: 2 MiB in bfloat16
KEPT_LENGTH = 512  # up to this row length probabilities are kept for the backward pass, beyond it they are made again


def is_for(values: Tensor, cached: int | None) -> bool:
    """Whether values [B, H_kv, T, D] are attended to so: on a CPU, whole rows without a cache, where it is faster.

    With and without gradient alike, so that a policy and its reference see the same numbers.
    """
    if values.device.type != "cpu" or cached is not None or type(values) is not Tensor:  # a DTensor, say
        return False
    return values.shape[-2] > (1 if values.dtype == torch.bfloat16 else BLOCK)


@dataclass(frozen=True)
class Visible:
    """What each query may see: bias [B or 1, 1, T, T], 0 or -inf, and per row and block the first key that any sees."""

    bias: Tensor
    first: list[list[int]]

    @classmethod
    def of(cls, allowed: Tensor, dtype: torch.dtype) -> Visible:
        """Of a boolean mask [B or 1, 1, T, T], True where attention may go."""
        bias = torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, float("-inf"))
        seen = [block.any(1).int().argmax(1) for block in allowed[:, 0].split(BLOCK, dim=1)]
        return cls(bias, torch.stack(seen, 1).tolist())


def attend(queries: Tensor, keys: Tensor, values: Tensor, visible: Visible, scale: float) -> Tensor:
    """Attention of queries [B, H, T, D] to keys [B, H_kv, T, D] and values [B, H_kv, T, D_v]: [B, H, T, D_v].

    All in the dtype of the values: under autocast norms leave float32 behind them. Scores are rounded to it, as in
    transformers' eager attention; products and softmax add up in float32.
    """
    kind = values.dtype
    out: Tensor = _Blockwise.apply(queries.to(kind), keys.to(kind), values, visible, scale)  # type: ignore[no-untyped-call]
    return out


def compile_around() -> None:
    """From now on torch.compile leaves `attend` as it is: its loops would only be unrolled. Not said where it is
    defined, because the compiler takes a second to import."""
    global attend
    attend = torch.compiler.disable(attend)


@dataclass(frozen=True)
class _Part:
    """Of rows `rows`: queries `block` against keys `keys`; `groups` query heads share a key head."""

    rows: slice
    block: slice
    keys: slice
    groups: int

    def queries(self, x: Tensor) -> Tensor:
        """[rows * H_kv, groups * block, D] of x [B, H, T, D]."""
        return x[self.rows, :, self.block].unflatten(1, (-1, self.groups)).flatten(2, 3).flatten(0, 1)

    def shared(self, x: Tensor) -> Tensor:
        """[rows * H_kv, keys, D] of x [B, H_kv, T, D]: a view."""
        return x[self.rows].flatten(0, 1)[:, self.keys]

    def write(self, x: Tensor, part: Tensor) -> None:
        """Into x [B, H, T, D] what `queries` has the shape of."""
        place = x[self.rows, :, self.block].unflatten(1, (-1, self.groups))
        place.copy_(part.view(place.shape))

    def probabilities(self, queries: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
        """[rows * H_kv, groups * block, keys]."""
        scores = torch.bmm(self.queries(queries), self.shared(keys).mT)
        bias = (bias[self.rows] if len(bias) > 1 else bias)[:, :, self.block, self.keys]
        scores.view(self.rows.stop - self.rows.start, -1, *bias.shape[2:]).add_(bias)
        return torch._softmax(scores, -1, False)


def _parts(queries: Tensor, keys: Tensor, first: list[list[int]]) -> Iterator[_Part]:
    count, heads, length, _ = queries.shape
    rows = max(1, CHUNK // (heads * min(BLOCK, length) * length))
    for at in range(0, count, rows):
        chunk = slice(at, min(at + rows, count))
        for number, begin in enumerate(range(0, length, BLOCK)):
            end = min(begin + BLOCK, length)
            start = min(row[number] for row in (first[chunk] if len(first) > 1 else first))
            yield _Part(chunk, slice(begin, end), slice(start, end), heads // keys.shape[1])


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, visible: Visible, scale: float) -> Tensor:
        queries, keys, values = (queries * scale).contiguous(), keys.contiguous(), values.contiguous()
        # Laid out as the product behind it reads it: [B, T, H, D] in memory.
        count, heads, length, _ = queries.shape
        out = queries.new_empty(count, length, heads, values.shape[-1]).transpose(1, 2)
        keep, kept = any(ctx.needs_input_grad) and length <= KEPT_LENGTH, []
        for part in _parts(queries, keys, visible.first):
            probabilities = part.probabilities(queries, keys, visible.bias)
            part.write(out, torch.bmm(probabilities, part.shared(values)))
            if keep:
                kept.append(probabilities)
        ctx.save_for_backward(queries, keys, values, *kept)
        ctx.visible, ctx.scale = visible, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # type: ignore[override]
        queries, keys, values, *kept = ctx.saved_tensors
        grad, visible, scale = grads[0], ctx.visible, ctx.scale
        of_queries = torch.empty_like(queries)
        # A sum of two blocks loses no more than they did themselves; one of many does.
        wide = queries.shape[2] > 2 * BLOCK
        kind = torch.promote_types(keys.dtype, torch.float32) if wide else keys.dtype
        of_keys, of_values = torch.zeros_like(keys, dtype=kind), torch.zeros_like(values, dtype=kind)
        for number, part in enumerate(_parts(queries, keys, visible.first)):
            weights = kept[number] if kept else part.probabilities(queries, keys, visible.bias)
            own, given = part.queries(queries), part.queries(grad)
            part.shared(of_values).add_(torch.bmm(weights.mT, given).to(kind))
            slope = torch.bmm(given, part.shared(values).mT)
            slope = torch._softmax_backward_data(slope, weights, -1, weights.dtype)
            part.write(of_queries, torch.bmm(slope, part.shared(keys)))
            part.shared(of_keys).add_(torch.bmm(slope.mT, own).to(kind))
        of_queries.mul_(scale)
        return of_queries, of_keys.to(keys.dtype), of_values.to(values.dtype), None, None
