"""The objective of reward modelling over packed rows; both answers of a pair are in one row."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.finetuning.prefer.losses import reward_loss
from tutelage.model.decoder import DecoderLM
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import PackedRows
from tutelage.training.objective import Loss


class Reward:
    """Bradley-Terry on the scores of a pair. Extras at each last token: `side` (+1 chosen, -1 rejected), `pair` (its
    number, shared by both), `margin`. A pair counts once, so microbatches add up."""

    def __init__(self, train: PackedRows, validation: PackedRows, centering: float) -> None:
        self.name = f"reward centering {centering}"
        self.rows = {"train": train, "validation": validation}
        self.centering = centering

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        chosen, rejected, margin = pair_scores(model, batch)
        losses = reward_loss(chosen, rejected, margin, self.centering)
        difference, count = (chosen - rejected).detach(), losses.new_tensor(float(len(losses)))
        right = (difference > 0).float() + 0.5 * (difference == 0).float()
        metrics = {
            "reward_accuracy": (right.sum(), count),
            "margin": (difference.sum(), count),
            "mean_reward": ((chosen + rejected).detach().sum() / 2, count),
        }
        return Loss(losses.sum(), count, metrics)


def pair_scores(model: DecoderLM, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards of chosen and of rejected answers, and required margins, each [pairs], in order of pair number."""
    at = batch.weights > 0
    hidden = model.hidden(batch.tokens, batch.positions, batch.documents, branches=batch.branches)
    scores = model.scores(hidden[at])[:, 0]
    side, pair = batch.extras["side"][at], batch.extras["pair"][at]
    order = torch.argsort(pair, stable=True)
    chosen, rejected = order[side[order] > 0], order[side[order] < 0]
    return scores[chosen], scores[rejected], batch.extras["margin"][at][chosen]
