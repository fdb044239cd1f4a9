"""Logits that are not finite, named where they arise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tutelage.store.errors import InputError

if TYPE_CHECKING:
    from tutelage.inference.sampling import Sampling


def require_finite(logits: Tensor) -> Tensor:
    """Log of the sum of the exponentials [...] of logits [..., V]. -inf is allowed for some tokens of a row.

    Raises InputError naming the first row of which no probabilities can be made.
    """
    norms = logits.logsumexp(-1)
    if not bool(norms.isfinite().all()):
        at = int((~norms.flatten().isfinite()).nonzero()[0])
        row = logits.flatten(0, -2)[at]
        kind = "NaN" if row.isnan().any() else "inf" if (row == torch.inf).any() else "nothing but -inf"
        raise InputError(
            f"the logits of row {at} are not finite: the model gives {kind}",
            hint="its weights are damaged or too large for their precision: load it with dtype float32, or take an "
            "earlier checkpoint",
        )
    return norms


def require_finite_settings(logits: Tensor, sampling: Sampling, numbers: Sequence[int]) -> None:
    """Raise InputError if the settings left a row [V] of logits [rows, V] without a largest finite value."""
    peaks = logits.amax(-1)  # NaN and inf show in it
    if bool(peaks.isfinite().all()):
        return
    at = int((~peaks.isfinite()).nonzero()[0])
    used = [
        f"{name}={getattr(sampling, name)}"
        for name, off in (("repetition_penalty", 1), ("presence_penalty", 0), ("frequency_penalty", 0),
                          ("dry_multiplier", 0), ("no_repeat_ngram", 0))
        if getattr(sampling, name) != off
    ]  # fmt: skip
    used += ["logit_bias"] if sampling.logit_bias else []
    used += ["constraint"] if sampling.constraint else []
    raise InputError(
        f"the logits of row {numbers[at]} are not finite after {', '.join(used) or 'the settings'}: "
        f"{'every token is ruled out' if peaks[at] == -torch.inf else 'they overflow'}",
        hint="give values nearer to those that are off (a repetition_penalty is mostly from 1 to 1.5)",
    )
