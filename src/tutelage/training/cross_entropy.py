"""Cross-entropy of the language-model head in chunks: the logits of all positions never exist at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.model.autocast import cast_once

CHUNK_ELEMENTS = 1 << 20  # logits of one chunk: 4 MiB of float32 stay in cache
CHUNK_ROWS = 256  # but never fewer positions: with 20 the products of a 50k vocabulary take twice the time
GPU_CHUNK_ELEMENTS = 1 << 27  # 512 MiB: small products leave a GPU idle


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of negative log-likelihoods whose gradient is made in the forward pass, chunk by chunk.

    The gradient of a sum is known up to one factor before backward is called, so nothing has to be kept or
    computed twice (the idea of Liger-Kernel's fused linear cross-entropy; Hsu et al. 2024, section 3.2).
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, softcap: float, shares: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        rows = max(CHUNK_ROWS, (GPU_CHUNK_ELEMENTS if hidden.is_cuda else CHUNK_ELEMENTS) // weight.shape[0])
        kinds = hidden.dtype, weight.dtype
        hidden, weight = cast_once(hidden), cast_once(weight)
        in_place = hidden.dtype == weight.dtype == torch.float32  # added up within the product
        nll = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        # A sum over many chunks.
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for at in range(0, len(targets), rows):
            part, target = hidden[at : at + rows], targets[at : at + rows, None]
            logits = (part @ weight.mT).float()  # [rows, V]
            if softcap:
                logits = softcap * torch.tanh(logits / softcap)
            slack = 1 - (logits / softcap).square() if softcap else None  # slope of the softcap
            top = logits.amax(1, keepdim=True)
            chosen = logits.gather(1, target)
            probabilities = logits.softmax(1)
            # log(sum(exp(logits - top))) is -log of the largest probability, which never underflows.
            nll[at : at + rows] = (top - probabilities.amax(1, keepdim=True).log() - chosen).squeeze(1)
            if grad_hidden is not None or grad_weight is not None:
                slope = probabilities.scatter_add_(1, target, torch.full_like(chosen, -1.0))
                if slack is not None:
                    slope *= slack
                if shares is not None:
                    slope *= shares[at : at + rows, None]
                slope = slope.to(part.dtype)
                if grad_hidden is not None:
                    grad_hidden[at : at + rows] = slope @ weight
                if grad_weight is not None and in_place:
                    grad_weight.addmm_(slope.mT, part)
                elif grad_weight is not None:
                    grad_weight += slope.mT @ part
        ctx.save_for_backward(
            None if grad_hidden is None else grad_hidden.to(kinds[0]),
            None if grad_weight is None else grad_weight.to(kinds[1]),
        )
        ctx.mark_non_differentiable(nll)
        return (nll if shares is None else nll * shares).sum(), nll

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:  # type: ignore[override]
        of_hidden, of_weight = (None if made is None else made * grads[0] for made in ctx.saved_tensors)
        return of_hidden, of_weight, None, None, None


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, softcap: float = 0.0, shares: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of logits hidden @ weight.T against targets.

    hidden [n, d], weight [V, d], targets [n] int64; softcap c > 0 makes each logit c tanh(logit / c). Returns the
    differentiable sum (scalar) and the values [n] without gradient, float32; `shares` [n]: how much of each value the
    sum counts, 1 without. Same as F.cross_entropy(..., reduction="sum") up to rounding.
    """
    if not torch.is_grad_enabled():
        hidden, weight = hidden.detach(), weight.detach()  # no gradient is made of these
    total, nll = _LinearCrossEntropy.apply(hidden, weight, targets, softcap, shares)  # type: ignore[no-untyped-call]
    return total, nll
