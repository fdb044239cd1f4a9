"""Temperature scaling: calibrate probabilities by one factor, merged into the head's weights (Guo et al. 2017)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.model.decoder import DecoderLM

WIDTH = 0.5  # standard deviation of the normal prior on log temperature, which dominates for few texts
_WIDEST = 3.0  # bound on log temperature


def temperature(scores: Tensor, targets: Tensor) -> float:
    """Fit the temperature for the scores [texts, labels] of held-out texts.

    targets: [texts] indices of labels, or [texts, labels] of 0 and 1 for multi-label data. Maximum a posteriori with a
    prior around 1.
    """
    scores = scores.double()

    def loss(log_t: float) -> float:
        divided = scores / math.exp(log_t)
        if targets.is_floating_point():
            nll = F.binary_cross_entropy_with_logits(divided, targets.double(), reduction="sum")
        else:
            nll = F.cross_entropy(divided, targets, reduction="sum")
        return float(nll) + log_t**2 / (2 * WIDTH**2)

    # The loss is convex in 1 / T and the prior in log T; unimodal in all cases seen, so golden-section search works.
    low, high, ratio = -_WIDEST, _WIDEST, (math.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return math.exp((low + high) / 2)


@torch.no_grad()
def calibrate(model: DecoderLM, scores: Tensor, targets: Tensor) -> float:
    """Divide the head's weights by the temperature and return it, so that every program gets calibrated scores."""
    found = temperature(scores, targets)
    model.score.weight.div_(found)
    return found
