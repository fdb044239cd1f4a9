"""Losses as pure functions of log-probabilities: no model, no batch, no state.

The preference losses follow TRL 1.16 where names agree, with two differences stated below: `sigmoid` honours
`label_smoothing` (conservative DPO), which TRL takes and ignores, and every loss is per pair, unreduced.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

PreferenceLoss = Literal["sigmoid", "sigmoid_norm", "ipo", "hinge"]


def log_ratios(
    policy_chosen: Tensor, policy_rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor
) -> tuple[Tensor, Tensor]:
    """How much likelier policy than reference finds each response: (chosen, rejected), [pairs], in nats."""
    return policy_chosen - reference_chosen, policy_rejected - reference_rejected


def preference_loss(
    kind: PreferenceLoss,
    chosen: Tensor,
    rejected: Tensor,
    chosen_tokens: Tensor,
    rejected_tokens: Tensor,
    beta: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Direct preference losses, one value per pair.

    `chosen`, `rejected`: policy/reference log-ratios summed over the response's tokens, [pairs] float32;
    `*_tokens`: how many tokens these are. `beta` > 0 is the weight of staying near the reference.

    - `sigmoid`: -log s(beta d), d = chosen - rejected (Rafailov et al. 2023, eq. 7); with `label_smoothing` e
      it is cDPO, -(1-e) log s(beta d) - e log s(-beta d) (Mitchell 2023).
    - `sigmoid_norm`: the same on log-ratios per token (Tulu 3, "length-normalized DPO"; beta about 5).
    - `ipo`: (d - 1/(2 beta))^2 on log-ratios per token (Azar et al. 2023, eq. 17; the authors' reading).
    - `hinge`: max(0, 1 - beta d) (SLiC, Zhao et al. 2023).
    """
    if kind in ("sigmoid_norm", "ipo"):
        chosen, rejected = chosen / chosen_tokens, rejected / rejected_tokens
    difference = chosen - rejected
    if kind == "ipo":
        return (difference - 1 / (2 * beta)) ** 2
    if kind == "hinge":
        return torch.relu(1 - beta * difference)
    for_chosen = -functional.logsigmoid(beta * difference)
    if label_smoothing == 0.0:
        return for_chosen
    return (1 - label_smoothing) * for_chosen - label_smoothing * functional.logsigmoid(-beta * difference)
