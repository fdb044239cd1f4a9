"""Blockwise attention on a CPU: each block of queries against the keys visible to any of them.

PyTorch's CPU kernel uses tiles so small that its matrix products reach a tenth of the machine's peak; full blocks in
one batched product, whose scores still fit the cache, take half its time or less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BLOCK = 128  # queries per block
CHUNK = 1 << 20  # scores per chunk, over as many rows as fit: 2 MiB in bfloat16
KEPT_LENGTH = 512  # up to this row length probabilities are stored for the backward pass, beyond it they are recomputed


def is_for(values: Tensor, cached: int | None) -> bool:
    """Whether blockwise attention applies to values [B, H_kv, T, D]: on a CPU, full rows without a cache, if faster.

    The same with and without gradient, so that a policy and its reference compute equal numbers.
    """
    if values.device.type != "cpu" or cached is not None or type(values) is not Tensor:  # a DTensor, say
        return False
    return values.shape[-2] > (1 if values.dtype == torch.bfloat16 else BLOCK)


@dataclass(frozen=True)
class Visible:
    """Visibility: bias [B or 1, 1, T, T], 0 or -inf, and the first visible key per row and block."""

    bias: Tensor
    first: list[list[int]]

    @classmethod
    def of(cls, allowed: Tensor, dtype: torch.dtype) -> Visible:
        """From a boolean mask [B or 1, 1, T, T], True for visible keys."""
        bias = torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, float("-inf"))
        seen = [block.any(1).int().argmax(1) for block in allowed[:, 0].split(BLOCK, dim=1)]
        return cls(bias, torch.stack(seen, 1).tolist())


def attend(queries: Tensor, keys: Tensor, values: Tensor, visible: Visible, scale: float) -> Tensor:
    """Attention of queries [B, H, T, D] to keys [B, H_kv, T, D] and values [B, H_kv, T, D_v]: [B, H, T, D_v].

    Computed in the dtype of the values, because under autocast norms return float32. Scores are rounded to it, as in
    transformers' eager attention; products and softmax accumulate in float32.
    """
    kind = values.dtype
    out: Tensor = _Blockwise.apply(queries.to(kind), keys.to(kind), values, visible, scale)  # type: ignore[no-untyped-call]
    return out


def compile_around() -> None:
    """Exclude `attend` from torch.compile, which would only unroll its loops. Not a decorator, because importing the
    compiler takes a second."""
    global attend
    attend = torch.compiler.disable(attend)


@dataclass(frozen=True)
class _Part:
    """One tile: queries `block` against keys `keys` for rows `rows`; `groups` query heads share a key head."""

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
        """Write a tensor shaped like `queries` into x [B, H, T, D]."""
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
        # Memory layout of the following product: [B, T, H, D].
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
        # Summing two blocks adds no significant rounding error; summing many does.
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
