"""Products of few rows with weights in 4, 8 or 16 bits, as plain functions that Python and TorchScript both run."""
# No `from __future__ import annotations`: TorchScript reads the types of a NamedTuple's fields as they are.

from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    Prepacked = Any
else:
    Prepacked = torch.classes.quantized.LinearPackedParamsBase  # as TorchScript calls it

GROUP = 32  # weights of a row that share scale and offset: GGUF's blocks


class Parts(NamedTuple):
    """A matrix [out, in] for `multiply`, in one of four forms, and a bias [out] float32.

    weight uint8 and scales: 4 bits, as torch's kernel packs them, in groups of `GROUP`; weight int8 and scales [out]
    bfloat16: 8 bits; weight bfloat16 alone; prepacked alone: 8 bits, as torch's products of integers take them.
    """

    weight: Tensor | None = None
    scales: Tensor | None = None
    prepacked: Optional[Prepacked] = None  # noqa: UP045
    bias: Tensor | None = None


def multiply(x: Tensor, parts: Parts) -> Tensor:
    """x W^T + bias of few rows x [rows, in]; bfloat16, or float32 with a bias or prepacked weights."""
    weight, scales, prepacked, bias = parts.weight, parts.scales, parts.prepacked, parts.bias
    if prepacked is not None:
        out = _by_integers(x, prepacked)
    else:
        assert weight is not None
        if scales is None:
            out = F.linear(x.to(torch.bfloat16), weight)
        elif weight.dtype == torch.uint8:
            group = 32  # `GROUP`: TorchScript sees no global numbers
            out = torch._weight_int4pack_mm_for_cpu(x.to(torch.bfloat16), weight, group, scales)
        else:
            out = torch._weight_int8pack_mm(x.to(torch.bfloat16), weight, scales)
    return out if bias is None else out + bias


def _by_integers(x: Tensor, prepacked: Prepacked) -> Tensor:
    """x as two 8-bit integers a number, coarse and fine: sums of integers are exact, so only W is rounded."""
    fine = 254.0  # fine steps in a coarse one
    rows, unit = x.shape[0], x.abs().amax(1, keepdim=True).clamp_(min=1e-30).mul_(1 / 127)
    # The kernel finds its own step from the least and the largest number: the last two make that 1.
    both = torch.empty(2 * rows, x.shape[1] + 2)
    both[:, -2] = -128.0
    both[:, -1] = 127.0
    coarse = (x / unit).round_()
    both[:rows, :-2] = coarse
    both[rows:, :-2] = (x / unit).sub_(coarse).mul_(fine).round_()
    made = torch.ops.quantized.linear_dynamic(both, prepacked, False)
    return torch.add(made[:rows], made[rows:], alpha=1 / fine).mul_(unit)
