"""Ordinal labels (grades, stars): the predicted label, and a loss that accounts for distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def chosen_label(probabilities: Mapping[str, float], order: Sequence[str] = ()) -> str:
    """The predicted label: the likeliest (ties: alphabetically first), or with an `order` the median, which minimises
    the expected distance."""
    if not order:
        return max(sorted(probabilities), key=lambda label: probabilities[label])
    total = 0.0
    for label in order:
        total += probabilities.get(label, 0.0)
        if total >= 0.5:
            return label
    return order[-1]


def median_labels(scores: Tensor) -> Tensor:
    """Indices [texts] of the median labels, from class logits [texts, labels] of ordinal labels."""
    below = scores.float().softmax(-1).cumsum(-1) < 0.5
    return below.sum(-1).clamp(max=scores.shape[-1] - 1)


def threshold_losses(scores: Tensor, targets: Tensor) -> Tensor:
    """Ordinal loss [texts] of class logits [texts, labels] for targets [texts].

    Sum of the binary cross entropies of exceeding each threshold between neighbouring labels (CORAL; Cao, Mirjalili and
    Raschka 2020, eq. 4). The probability of exceeding a threshold is the sum over all labels above, so thresholds are
    consistent and the head keeps one logit per label.
    """
    logprobs = scores.float().log_softmax(-1)
    up_to = logprobs.logcumsumexp(-1)[..., :-1]
    above = logprobs.flip(-1).logcumsumexp(-1).flip(-1)[..., 1:]
    passed = targets[:, None] > torch.arange(scores.shape[-1] - 1, device=scores.device)
    return -torch.where(passed, above, up_to).sum(-1)
