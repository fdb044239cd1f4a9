"""Preference finetuning over packed rows of (chosen, rejected) documents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.finetuning.prefer.losses import PreferenceLoss, log_ratios, preference_loss
from tutelage.model.decoder import DecoderLM
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import PackedRows
from tutelage.training.objective import Loss, stop_probability, target_nll


class Preference:
    """Direct preference optimisation on rows of (chosen, rejected) documents.

    The batch's extras: `reference`, per-token log-probabilities of the frozen reference at the weighted
    positions, and `side`, +1 on tokens of a chosen response, -1 on those of a rejected one. A pair is two
    documents in a row of numbers 2k-1 and 2k, whichever comes first. `sft_weight` adds that much of the
    chosen response's mean negative log-likelihood, which keeps what the instructed model can do.
    """

    def __init__(
        self,
        train: PackedRows,
        validation: PackedRows,
        kind: PreferenceLoss,
        beta: float,
        label_smoothing: float,
        sft_weight: float,
        stop_ids: Sequence[int] = (),
    ) -> None:
        # The name tells one run from another: checkpoints made with another beta are not resumed.
        self.name = f"preference {kind} beta {beta} smoothing {label_smoothing} sft {sft_weight}"
        self.rows = {"train": train, "validation": validation}
        self.kind, self.beta = kind, beta
        self.label_smoothing, self.sft_weight = label_smoothing, sft_weight
        self.stop_ids = tuple(stop_ids)

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        nll, at = target_nll(model, batch)
        logprobs = -nll
        reference, side = batch.extras["reference"][at].float(), batch.extras["side"][at]
        pair, pairs = _pair_numbers(batch, at)
        chosen, rejected = side > 0, side < 0

        def per_pair(values: Tensor, where: Tensor) -> Tensor:
            return values.new_zeros(pairs).index_add(0, pair[where], values[where])

        ones = torch.ones_like(reference)
        chosen_tokens, rejected_tokens = per_pair(ones, chosen), per_pair(ones, rejected)
        policy_chosen, policy_rejected = per_pair(logprobs, chosen), per_pair(logprobs, rejected)
        ratios = log_ratios(policy_chosen, policy_rejected, per_pair(reference, chosen), per_pair(reference, rejected))
        losses = preference_loss(self.kind, *ratios, chosen_tokens, rejected_tokens, self.beta, self.label_smoothing)
        if self.sft_weight:
            losses = losses - self.sft_weight * policy_chosen / chosen_tokens

        count = _count(losses)
        margin = self.beta * (ratios[0] - ratios[1]).detach()
        likelier = (policy_chosen / chosen_tokens - policy_rejected / rejected_tokens).detach()
        metrics = {
            "reward_accuracy": (_share_above(margin).sum(), count),
            "margin": (margin.sum(), count),
            "likelihood_accuracy": (_share_above(likelier).sum(), count),
            "chosen_logp": (policy_chosen.detach().sum(), chosen_tokens.sum()),
            "rejected_logp": (policy_rejected.detach().sum(), rejected_tokens.sum()),
        }
        if self.stop_ids:
            targets = batch.targets[at]
            metrics["stop_probability"] = stop_probability(nll[chosen], targets[chosen], self.stop_ids)
        return Loss(losses.sum(), count, metrics)


def _pair_numbers(batch: Batch, at: Tensor) -> tuple[Tensor, int]:
    """Number of the pair that each selected token belongs to, 0.. without gaps, and how many there are."""
    rows = torch.arange(batch.documents.shape[0], device=batch.documents.device)[:, None]
    in_row = (batch.documents - 1) // 2
    key = (rows * (batch.documents.max() + 1) + in_row)[at]
    numbers, pair = torch.unique(key, return_inverse=True)
    return pair, len(numbers)


def _count(values: Tensor) -> Tensor:
    return values.new_tensor(float(len(values)))


def _share_above(values: Tensor) -> Tensor:
    """1 where positive, 0 where negative; a tie is a half, so that an untrained policy scores chance."""
    return (values > 0).float() + 0.5 * (values == 0).float()
