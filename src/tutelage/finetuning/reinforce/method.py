"""A policy-gradient method: a choice of advantage, ratio, clip and aggregation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tutelage.finetuning.reinforce.losses import (
    Advantage,
    Aggregation,
    Clip,
    Estimator,
    Ratio,
    aggregate,
    is_clipped,
    kl_estimate,
    log_ratios,
    surrogate,
)


@dataclass(frozen=True)
class Method:
    """All choices of a method; see `losses` for their formulas.

    epsilon, epsilon_high, delta: of `clip`; ratio_cap: of `cispo`. beta: weight of the KL to the initial model, added
    to the loss or (`kl_in_reward`) subtracted from the reward. kl_corrected: the estimate is multiplied by the ratio to
    the sampling policy. max_tokens: maximum length of an answer, the divisor of `fixed_length`.
    """

    advantage: Advantage
    ratio: Ratio
    clip: Clip
    aggregation: Aggregation
    epsilon: float
    epsilon_high: float
    delta: float | None
    ratio_cap: float
    beta: float
    kl: Estimator
    kl_corrected: bool
    kl_in_reward: bool
    max_tokens: int

    def loss(
        self, new: Tensor, old: Tensor, reference: Tensor | None, advantage: Tensor, answer: Tensor, count: int
    ) -> tuple[Tensor, Tensor]:
        """(sum, weight) over tokens [n] of `count` answers. `reference` is needed if the KL is in the loss."""
        log_ratio = log_ratios(new, old, answer, count, self.ratio)
        losses = surrogate(
            new, log_ratio, advantage.to(new.dtype), self.clip, self.epsilon, self.epsilon_high, self.delta,
            self.ratio_cap,
        )  # fmt: skip
        if self.beta and not self.kl_in_reward and reference is not None:
            kl = kl_estimate(new, reference, self.kl)
            losses = losses + self.beta * (kl * log_ratio.exp() if self.kl_corrected else kl)
        return aggregate(losses, answer, count, self.aggregation, self.max_tokens)

    def clipped(self, new: Tensor, old: Tensor, advantage: Tensor, answer: Tensor, count: int) -> Tensor:
        """Which tokens are clipped: [n] bool."""
        log_ratio = log_ratios(new, old, answer, count, self.ratio)
        return is_clipped(log_ratio, advantage, self.clip, self.epsilon, self.epsilon_high, self.ratio_cap)
