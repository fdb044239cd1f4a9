"""Labels in an order (grades, stars): which one to name, and the loss that knows how far apart two are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def chosen_label(probabilities: Mapping[str, float], order: Sequence[str] = ()) -> str:
    """The label to name: the likeliest, of equally likely ones the first in the alphabet; of labels in an `order` the
    median, which is the one that is fewest steps off on average."""
    if not order:
        return max(sorted(probabilities), key=lambda label: probabilities[label])
    total = 0.0
    for label in order:
        total += probabilities.get(label, 0.0)
        if total >= 0.5:
            return label
    return order[-1]


def median_labels(scores: Tensor) -> Tensor:
    """Numbers [texts] of the median labels of class logits [texts, labels], whose labels are in order."""
    below = scores.float().softmax(-1).cumsum(-1) < 0.5
    return below.sum(-1).clamp(max=scores.shape[-1] - 1)


def threshold_losses(scores: Tensor, targets: Tensor) -> Tensor:
    """Loss [texts] of class logits [texts, labels], whose labels are in order, for targets [texts].

    Sum over the thresholds between neighbours of the binary cross entropy of being above it (CORAL; Cao, Mirjalili and
    Raschka 2020, eq. 4). The probability of being above is that of all labels above together, so no threshold can
    contradict another, and the head stays one of a logit for each label.
    """
    logprobs = scores.float().log_softmax(-1)
    up_to = logprobs.logcumsumexp(-1)[..., :-1]
    above = logprobs.flip(-1).logcumsumexp(-1).flip(-1)[..., 1:]
    passed = targets[:, None] > torch.arange(scores.shape[-1] - 1, device=scores.device)
    return -torch.where(passed, above, up_to).sum(-1)
