"""Policy-gradient losses as pure functions: no model, no batch, no state.

A method is three independent choices: the advantage of an answer (`advantages`), the clipped objective of a token
(`log_ratios`, `surrogate`), and the aggregation over tokens (`aggregate`). Tokens are flat, [n], with the index of
their answer, `answer` [n] int64, out of `count` answers. Values equal those of TRL 1.16.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Advantage = Literal["group", "mean", "batch", "leave_one_out"]
Ratio = Literal["token", "sequence", "sequence_sum"]
Clip = Literal["clip", "cispo", "sapo"]
Aggregation = Literal["answer_mean", "token_mean", "answer_sum", "fixed_length"]
Estimator = Literal["k1", "k2", "k3"]

SMALL = 1e-4  # added to a standard deviation, as in TRL and DeepSeek-R1's reimplementations
SAPO_TEMPERATURES = (1.0, 1.05)  # for positive and negative advantages (Gao et al. 2025)


def advantages(rewards: Tensor, kind: Advantage) -> Tensor:
    """Advantage of each answer within its group: [groups, k] float64, from rewards [groups, k].

    - `group`: (r - mean) / (std + 1e-4) within the group, std with ddof 1 (GRPO; Shao et al. 2024, section 4.1.2).
    - `mean`: r - mean, without the division that favours questions almost always or almost never solved (Dr. GRPO;
      Liu et al. 2025, section 3.1).
    - `batch`: (r - mean of the group) / (std of the whole batch + 1e-4).
    - `leave_one_out`: r - mean of the other answers in the group (RLOO; Ahmadian et al. 2024, eq. 6).

    A group whose rewards are all equal has advantages of exactly 0.
    """
    rewards = rewards.double()
    k = rewards.shape[1]
    centred = rewards - rewards.mean(1, keepdim=True)
    centred = centred.masked_fill((rewards == rewards[:, :1]).all(1, keepdim=True), 0.0)
    if kind == "group":
        return centred / (rewards.std(1, keepdim=True) + SMALL)
    if kind == "batch":
        return centred / (rewards.std() + SMALL)
    return centred * k / (k - 1) if kind == "leave_one_out" else centred


def log_ratios(new: Tensor, old: Tensor, answer: Tensor, count: int, level: Ratio) -> Tensor:
    """Log-ratio of the current to the sampling policy, for each token: [n].

    - `token`: of the token itself.
    - `sequence`: the mean over its answer (GSPO; Zheng et al. 2025, eq. 7).
    - `sequence_sum`: the sum over its answer: the answer's own ratio (RLOO).
    """
    difference = new - old
    if level == "token":
        return difference
    sums = difference.new_zeros(count).index_add(0, answer, difference)
    if level == "sequence":
        sums = sums / _lengths(difference, answer, count)
    return sums[answer]


def surrogate(
    new: Tensor, log_ratio: Tensor, advantage: Tensor, kind: Clip, low: float, high: float, delta: float | None = None,
    cap: float = 5.0,
) -> Tensor:  # fmt: skip
    """Loss of each token [n]. `new`: its log-probability; `log_ratio`: see `log_ratios`; `advantage`: of its answer.

    - `clip`: -min(r A, clip(r, 1 - low, 1 + high) A) (PPO; `high` above `low` is clip-higher, DAPO). `delta` bounds
      r itself, so that a bad answer that became likely has a bounded gradient (dual clip; Ye et al. 2020, eq. 5).
    - `cispo`: -sg(min(r, cap)) A log p: every token keeps a gradient (MiniMax-M1, eq. 4).
    - `sapo`: -A 4/t s(t (r - 1)), a soft gate in place of the clip; t = 1 for A > 0, else 1.05.
    """
    ratio = log_ratio.exp()
    if kind == "cispo":
        return -ratio.clamp(max=cap).detach() * advantage * new
    if kind == "sapo":
        above, below = SAPO_TEMPERATURES
        t = torch.where(advantage > 0, above, below).to(ratio.dtype)
        return -advantage * torch.sigmoid(t * (ratio - 1)) * 4 / t
    clipped = ratio.clamp(1 - low, 1 + high)
    bounded = ratio if delta is None else ratio.clamp(max=delta)
    return -torch.minimum(bounded * advantage, clipped * advantage)


def is_clipped(log_ratio: Tensor, advantage: Tensor, kind: Clip, low: float, high: float, cap: float) -> Tensor:
    """Where the ratio is out of range: the loss has no gradient (`clip`) or a capped weight (`cispo`). [n] bool."""
    ratio = log_ratio.exp()
    if kind == "cispo":
        return ratio > cap
    if kind == "sapo":
        return torch.zeros_like(ratio, dtype=torch.bool)
    return ((ratio < 1 - low) & (advantage < 0)) | ((ratio > 1 + high) & (advantage > 0))


def kl_estimate(new: Tensor, reference: Tensor, kind: Estimator) -> Tensor:
    """KL(policy || reference) estimated at each sampled token, [n] (Schulman 2020), with d = log(policy / reference).

    - `k1`: d. Unbiased, of either sign. Its expected gradient is zero, so it has no effect in the loss and belongs in
      the reward.
    - `k2`: d^2 / 2. Biased as a value; its gradient is that of the KL if the tokens are sampled from the policy.
    - `k3`: exp(-d) - 1 + d. Unbiased and never negative; its gradient is that of KL(reference || policy), unless it is
      multiplied by the ratio to the sampling policy, with gradient ("bias-corrected").
    """
    d = new - reference
    if kind == "k1":
        return d
    if kind == "k2":
        return d * d / 2
    return torch.expm1(-d) + d


def aggregate(
    losses: Tensor, answer: Tensor, count: int, kind: Aggregation, max_tokens: int
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(sum, weight) of the token losses [n], which can be added over parts of a batch before dividing.

    - `answer_mean`: mean over answers of the mean over tokens: a token of a long answer weighs less (GRPO).
    - `token_mean`: mean over all tokens of the whole step (DAPO).
    - `answer_sum`: mean over answers of the sum over tokens (LUSPO).
    - `fixed_length`: the same divided by `max_tokens`, a constant (Dr. GRPO).
    """
    answers = losses.new_tensor(float(count))
    if kind == "token_mean":
        return losses.sum(), losses.new_tensor(float(len(losses)))
    if kind == "answer_mean":
        return (losses / _lengths(losses, answer, count)[answer]).sum(), answers
    return losses.sum(), answers * max_tokens if kind == "fixed_length" else answers


def _lengths(like: Tensor, answer: Tensor, count: int) -> Tensor:
    return like.new_zeros(count).index_add(0, answer, torch.ones_like(like))
