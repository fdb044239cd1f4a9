"""Preference losses as pure functions of log-probabilities: no model, no batch, no state.

Log-probabilities are sums over the answer's tokens, in nats; losses are returned unreduced. Formulas equal those of TRL
1.16 under the same names, with the exceptions listed in `docs/preferences.md`: `sigmoid` uses `label_smoothing`, and
SimPO has the settings of its paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from tutelage.finetuning.prefer.defaults import JudgedLoss, PairLoss

PER_TOKEN = ("sigmoid_norm", "ipo", "sft", "orpo", "simpo")  # compare answers by the mean over their tokens
DISCOPOP_TEMPERATURE = 0.05
_NEARLY_SURE = -1e-6  # mean log-probabilities are clamped to this, so that log(1 - p) stays finite


@dataclass(frozen=True)
class Pairs:
    """Both answers of each pair: log-probabilities under policy and reference, and token counts, each [pairs].

    For a loss without a reference, the reference values are zeros.
    """

    chosen: Tensor
    rejected: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    @classmethod
    def without_reference(
        cls, chosen: Tensor, rejected: Tensor, chosen_tokens: Tensor, rejected_tokens: Tensor
    ) -> Pairs:
        zero = torch.zeros_like(chosen)
        return cls(chosen, rejected, zero, zero, chosen_tokens, rejected_tokens)

    def log_ratios(self, per_token: bool = False) -> tuple[Tensor, Tensor]:
        """log(policy / reference) of each answer, summed or per token: (chosen, rejected), [pairs]."""
        chosen, rejected = self.chosen - self.reference_chosen, self.rejected - self.reference_rejected
        return (chosen / self.chosen_tokens, rejected / self.rejected_tokens) if per_token else (chosen, rejected)


def preference_loss(
    kind: PairLoss, pairs: Pairs, beta: float, label_smoothing: float = 0.0, gamma_beta_ratio: float = 0.0
) -> Tensor:
    """One value per pair, [pairs]; the loss is their sum divided by that of `loss_weights`.

    With w and l the log-ratios policy/reference of the chosen and the rejected answer, d = w - l, b = `beta`,
    s the logistic function, e = `label_smoothing` (the expected share of wrong labels):

    - `sigmoid`: -log s(b d) (DPO, Rafailov et al. 2023, eq. 7); with e it is cDPO,
      -(1-e) log s(b d) - e log s(-b d) (Mitchell 2023).
    - `sigmoid_norm`: the same on log-ratios per token (Tulu 3, length-normalised DPO).
    - `hinge`: max(0, 1 - b d) (SLiC, Zhao et al. 2023; Liu et al. 2023).
    - `ipo`: (d - 1/(2b))^2 on log-ratios per token (Azar et al. 2023, eq. 17, per token as its authors intended).
    - `robust`: cDPO without its bias, ((1-e) (-log s(b d)) - e (-log s(-b d))) / (1-2e) (Chowdhury et al. 2024).
    - `exo_pair`: KL(s(b d) || 1-e) of the two outcomes, e > 0 (Ji et al. 2024, eq. 16).
    - `nca_pair`: -log s(b w) - (log s(-b w) + log s(-b l)) / 2 (Chen et al. 2024).
    - `bco_pair`: -log s(b w) - log s(-b l), without the running shift (Jung et al. 2024).
    - `sppo_hard`: (w - 1/(2b))^2 + (l + 1/(2b))^2 (Wu et al. 2024; b is 1 / their eta).
    - `apo_zero`: 1 - s(b w) + s(b l); `apo_down`: s(b w) + 1 - s(b d) (D'Oosterlinck et al. 2024).
    - `aot`, `aot_unpaired`: cDPO between sorted quantities: of all pairs given, the sorted differences
      chosen - rejected of the policy against those of the reference; unpaired, the sorted w against the sorted l
      (Melnyk et al. 2024). The value depends on which pairs are in the batch.
    - `discopop`: with x = b d and m = s(x / 0.05): (1-m) (-log s(x)) + m exp(-x) (Lu et al. 2024).
    - `sft`: the chosen answer's negative log-likelihood; `beta` and the rejected answer are not used.

    Without a reference, on log-probabilities of the policy alone:

    - `cpo`: -log s(b (chosen - rejected)), sums (Xu et al. 2024, eq. 3).
    - `simpo`: -log s(b (chosen - rejected - `gamma_beta_ratio`)), per token (Meng et al. 2024, eq. 6).
    - `orpo`: -b log s(log odds ratio), odds of the per-token probability (Hong et al. 2024, eq. 7; b is their lambda).
    """
    if kind == "sft":
        return -pairs.chosen
    if kind == "orpo":
        return -beta * logsigmoid(log_odds_ratio(pairs.chosen / pairs.chosen_tokens,
                                                 pairs.rejected / pairs.rejected_tokens))  # fmt: skip
    if kind == "aot":
        w = torch.sort(pairs.chosen - pairs.rejected).values
        l = torch.sort(pairs.reference_chosen - pairs.reference_rejected).values  # noqa: E741
    else:
        w, l = pairs.log_ratios(per_token=kind in PER_TOKEN)  # noqa: E741
        if kind == "aot_unpaired":
            w, l = torch.sort(w).values, torch.sort(l).values  # noqa: E741
    d = w - l
    match kind:
        case "hinge":
            return torch.relu(1 - beta * d)
        case "ipo":
            return (d - 1 / (2 * beta)) ** 2
        case "robust":
            e = label_smoothing
            return (-(1 - e) * logsigmoid(beta * d) + e * logsigmoid(-beta * d)) / (1 - 2 * e)
        case "exo_pair":
            right, wrong, e = logsigmoid(beta * d), logsigmoid(-beta * d), label_smoothing
            return right.exp() * (right - math.log1p(-e)) + wrong.exp() * (wrong - math.log(e))
        case "nca_pair":
            return -logsigmoid(beta * w) - 0.5 * logsigmoid(-beta * w) - 0.5 * logsigmoid(-beta * l)
        case "bco_pair":
            return -logsigmoid(beta * w) - logsigmoid(-beta * l)
        case "sppo_hard":
            return (w - 0.5 / beta) ** 2 + (l + 0.5 / beta) ** 2
        case "apo_zero":
            return torch.sigmoid(-beta * w) + torch.sigmoid(beta * l)
        case "apo_down":
            return torch.sigmoid(beta * w) + torch.sigmoid(-beta * d)
        case "discopop":
            x = beta * d
            mix = torch.sigmoid(x / DISCOPOP_TEMPERATURE)
            return -logsigmoid(x) * (1 - mix) + torch.exp(-x) * mix
        case "simpo":
            d = d - gamma_beta_ratio
    return _smoothed(beta * d, label_smoothing)


def _smoothed(margin: Tensor, e: float) -> Tensor:
    if e == 0.0:
        return -logsigmoid(margin)
    return -(1 - e) * logsigmoid(margin) - e * logsigmoid(-margin)


def loss_weights(kind: PairLoss, pairs: Pairs) -> Tensor:
    """Weight of each pair in the mean, [pairs]: 1, or for `sft` the number of chosen tokens."""
    return pairs.chosen_tokens if kind == "sft" else torch.ones_like(pairs.chosen)


def rewards(kind: PairLoss, pairs: Pairs, beta: float) -> tuple[Tensor, Tensor]:
    """Implicit reward of each answer: (chosen, rejected), [pairs], in the scale of the loss.

    beta times the log-ratio, or without a reference the log-probability; per token for losses in `PER_TOKEN`.
    """
    chosen, rejected = pairs.log_ratios(per_token=kind in PER_TOKEN)
    scale = 1.0 if kind == "sft" else beta
    return scale * chosen, scale * rejected


def log_odds_ratio(chosen: Tensor, rejected: Tensor) -> Tensor:
    """log(p_w / (1 - p_w)) - log(p_l / (1 - p_l)), given mean log-probabilities per token, both below 0."""
    chosen, rejected = chosen.clamp(max=_NEARLY_SURE), rejected.clamp(max=_NEARLY_SURE)
    return (chosen - rejected) - (_log_not(chosen) - _log_not(rejected))


def _log_not(log_p: Tensor) -> Tensor:
    """log(1 - p), exact for p near 0 and near 1 (Maechler 2012)."""
    near = log_p > -math.log(2)
    # Each branch gets safe values where the other one is selected: NaN times zero in backward would be NaN.
    return torch.where(near, torch.log(-torch.expm1(torch.where(near, log_p, -1.0))),
                       torch.log1p(-torch.exp(torch.where(near, -1.0, log_p))))  # fmt: skip


def reference_point(mismatched: Tensor) -> Tensor:
    """KTO's z: the mean log-ratio policy/reference of answers to other prompts, at least 0; a constant, no gradient.

    An estimate of KL(policy || reference) (Ethayarajh et al. 2024, section 4.1).
    """
    return mismatched.detach().mean().clamp(min=0)


def judged_loss(
    kind: JudgedLoss,
    log_ratios: Tensor,
    desirable: Tensor,
    beta: float,
    point: Tensor | float = 0.0,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """One value per judged answer, [answers].

    log_ratios: log(policy / reference), summed over the answer. desirable: bool. point: see `reference_point`.

    - `kto`: weight (1 - s(b (r - z))) of a desirable, weight (1 - s(b (z - r))) of an undesirable answer
      (Ethayarajh et al. 2024, eq. 8).
    - `apo_zero_unpaired`: 1 - s(b r) and s(b r); no reference point (D'Oosterlinck et al. 2024).
    """
    shifted = log_ratios if kind == "apo_zero_unpaired" else log_ratios - point
    sign = torch.where(desirable, 1.0, -1.0).to(log_ratios)
    weight = torch.where(desirable, desirable_weight, undesirable_weight).to(log_ratios)
    return weight * torch.sigmoid(-beta * sign * shifted)


def reward_loss(chosen: Tensor, rejected: Tensor, margin: Tensor | None = None, centering: float = 0.0) -> Tensor:
    """Reward modelling, one value per pair, [pairs]: -log s(chosen - rejected - margin) (Bradley and Terry 1952;
    Touvron et al. 2023, eq. 2), plus `centering` (chosen + rejected)^2, which keeps rewards around 0 (Eisenstein et al.
    2023)."""
    difference = chosen - rejected if margin is None else chosen - rejected - margin
    loss = -logsigmoid(difference)
    return loss + centering * (chosen + rejected) ** 2 if centering else loss
