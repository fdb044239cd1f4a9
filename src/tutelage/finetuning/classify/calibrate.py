"""Probabilities that mean what they say: one temperature, folded into the weights of the head (Guo et al. 2017)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.model.decoder import DecoderLM

WIDTH = 0.5  # of the normal prior on the temperature's logarithm: few texts move it little
_WIDEST = 3.0  # of that logarithm


def temperature(scores: Tensor, targets: Tensor) -> float:
    """The temperature by which the scores [texts, labels] are best divided, from texts that were not trained on.

    targets: [texts] indices of labels, or [texts, labels] of 0 and 1 where each label stands for itself. Most probable
    value: the likelihood of the targets, and a prior around 1.
    """
    scores = scores.double()

    def loss(log_t: float) -> float:
        divided = scores / math.exp(log_t)
        if targets.is_floating_point():
            nll = F.binary_cross_entropy_with_logits(divided, targets.double(), reduction="sum")
        else:
            nll = F.cross_entropy(divided, targets, reduction="sum")
        return float(nll) + log_t**2 / (2 * WIDTH**2)

    # The loss is convex in 1 / T and the prior in log T: one valley in all cases met; golden section finds its bottom.
    low, high, ratio = -_WIDEST, _WIDEST, (math.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return math.exp((low + high) / 2)


@torch.no_grad()
def calibrate(model: DecoderLM, scores: Tensor, targets: Tensor) -> float:
    """Divide the head's weights by the temperature and return it: every program that reads them is calibrated."""
    found = temperature(scores, targets)
    model.score.weight.div_(found)
    return found
