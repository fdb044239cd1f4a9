"""Chunked cross-entropy of the language-model head, without the logits of all positions in memory at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.model.autocast import cast_once

ROWS = 256  # positions per chunk: with fewer the products are slow, with more the logits exceed the cache
SLOPE_ELEMENTS = 1 << 23  # logit gradients buffered for one product with the hidden states: 16 MiB of bfloat16
GPU_ELEMENTS = 1 << 27  # logits per chunk on a GPU, 512 MiB: small products underutilise it


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of negative log-likelihoods whose gradient is computed in the forward pass, chunk by chunk.

    The gradient of a sum is known up to a scalar factor before backward is called, so nothing is stored or computed
    twice (the idea of Liger-Kernel's fused linear cross-entropy; Hsu et al. 2024, section 3.2).
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, softcap: float, shares: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        kinds = hidden.dtype, weight.dtype
        hidden, weight = cast_once(hidden), cast_once(weight)
        count, vocabulary = len(targets), weight.shape[0]
        rows, group = chunk_sizes(count, vocabulary, hidden.is_cuda)
        if not any(ctx.needs_input_grad):
            group = rows
        nll = torch.empty(count, dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight: Tensor | None = None
        slopes = hidden.new_empty(group, vocabulary)
        scratch = slopes if slopes.dtype == torch.float32 else slopes.new_empty(rows, vocabulary, dtype=torch.float32)
        for start in range(0, count, group):
            end = min(start + group, count)
            for at in range(start, end, rows):
                chunk = slice(at, min(at + rows, end))
                slope = slopes[chunk.start - start : chunk.stop - start]
                logits = slope if scratch is slopes else scratch[: len(slope)]
                nll[chunk], slack = _into_probabilities(logits, hidden[chunk], weight, targets[chunk, None], softcap)
                if not any(ctx.needs_input_grad):
                    continue
                logits.scatter_add_(1, targets[chunk, None], logits.new_full((len(logits), 1), -1.0))
                if slack is not None:
                    logits *= slack
                if shares is not None:
                    logits *= shares[chunk, None]
                if slope is not logits:
                    slope.copy_(logits)
                if grad_hidden is not None:
                    grad_hidden[chunk] = slope @ weight
            if ctx.needs_input_grad[1]:
                slope, part = slopes[: end - start], hidden[start:end]
                if grad_weight is None:
                    grad_weight = (slope.mT @ part).float()  # accumulated in float32 over many groups
                elif slope.dtype == torch.float32:
                    grad_weight.addmm_(slope.mT, part)  # fused
                else:
                    grad_weight += slope.mT @ part
        # Passed on in the backward pass without a copy, because it is as large as the head.
        ctx.made = [
            None if grad_hidden is None else grad_hidden.to(kinds[0]),
            None if grad_weight is None else grad_weight.to(kinds[1]),
        ]
        ctx.mark_non_differentiable(nll)
        return (nll if shares is None else nll * shares).sum(), nll

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:  # type: ignore[override]
        if ctx.made is None:
            raise RuntimeError("linear_cross_entropy supports only one backward pass")
        (of_hidden, of_weight), ctx.made = ctx.made, None
        for made in (of_hidden, of_weight):
            if made is not None:
                made *= grads[0]
        return of_hidden, of_weight, None, None, None


def chunk_sizes(count: int, vocabulary: int, on_gpu: bool) -> tuple[int, int]:
    """(positions per chunk, whose logits are computed at once; positions per group, whose gradients are buffered).

    For `count` positions with `vocabulary` logits each.
    """
    rows = max(1, min(count, max(ROWS, GPU_ELEMENTS // vocabulary if on_gpu else 0)))
    chunks = 1 if on_gpu else max(1, SLOPE_ELEMENTS // (rows * vocabulary))
    return rows, max(1, min(count, rows * chunks))


def _into_probabilities(
    logits: Tensor, hidden: Tensor, weight: Tensor, target: Tensor, softcap: float
) -> tuple[Tensor, Tensor | None]:
    """Write the probabilities of a chunk into `logits` [n, V], float32.

    Returns the negative log-likelihoods [n] of target [n, 1], and the slope of the softcap [n, V], if any.
    """
    if hidden.dtype == logits.dtype:
        torch.mm(hidden, weight.mT, out=logits)
    else:
        logits.copy_(hidden @ weight.mT)
    slack = None
    if softcap:
        torch.tanh(logits.div_(softcap), out=logits)
        slack = 1 - logits.square()
        logits *= softcap
    top, chosen = logits.amax(1, keepdim=True), logits.gather(1, target)
    torch.softmax(logits, 1, out=logits)
    # log(sum(exp(logits - top))) is -log of the largest probability, which never underflows.
    return (top - logits.amax(1, keepdim=True).log() - chosen).squeeze(1), slack


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, softcap: float = 0.0, shares: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of logits hidden @ weight.T against targets.

    hidden [n, d], weight [V, d], targets [n] int64; softcap c > 0 makes each logit c tanh(logit / c). Returns the
    differentiable sum (scalar) and the values [n] without gradient, float32; `shares` [n]: weight of each value in the
    sum, default 1. Same as F.cross_entropy(..., reduction="sum") up to rounding.
    """
    if not torch.is_grad_enabled():
        hidden, weight = hidden.detach(), weight.detach()  # these get no gradient
    total, nll = _LinearCrossEntropy.apply(hidden, weight, targets, softcap, shares)  # type: ignore[no-untyped-call]
    return total, nll
