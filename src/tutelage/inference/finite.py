"""Detect non-finite logits and report where they occur."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tutelage.store.errors import InputError

if TYPE_CHECKING:
    from tutelage.inference.sampling import Sampling


def own_logprobs(logits: Tensor) -> Tensor:
    """The model's log-probabilities [rows, V] from logits [rows, V]; -inf is allowed for some tokens of a row.

    By `log_softmax`, because the last bit of a row's `logsumexp` depends on the batch. Raises InputError naming the
    first row without valid probabilities.
    """
    logprobs = logits.log_softmax(-1)
    bad = logprobs[:, 0].isnan()  # NaN and inf make the entire row NaN
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        raise not_finite(f"the logits of row {at}", logits[at])
    return logprobs


def not_finite(what: str, values: Tensor) -> InputError:
    """The error for non-finite values, with what to do."""
    kind = "NaN" if values.isnan().any() else "inf" if (values == torch.inf).any() else "nothing but -inf"
    return InputError(
        f"{what} are not finite: the model gives {kind}",
        hint="its weights are damaged or too large for their precision: load it with dtype float32, or take an earlier "
        "checkpoint",
    )


def require_finite_settings(logits: Tensor, sampling: Sampling, numbers: Sequence[int]) -> None:
    """Raise InputError if the settings left a row of logits [rows, V] without a finite maximum."""
    peaks = logits.amax(-1)  # propagates NaN and inf
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
        hint="use weaker settings (a repetition_penalty is usually 1 to 1.5)",
    )
