"""The classification objective over packed rows; the loss is (sum, weight), so that microbatches add up exactly."""

from __future__ import annotations

import torch.nn.functional as F

from tutelage.finetuning.classify.head import document_scores
from tutelage.model.decoder import DecoderLM
from tutelage.model.ordinal import median_labels, threshold_losses
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import PackedRows
from tutelage.training.objective import Loss


class Classification:
    """Cross entropy of document labels. Targets are label indices.

    `ordinal`: the loss is that of the thresholds between ordered labels (`threshold_losses`). `focal` above 0: each
    text's loss is weighted by (1 - p of its label)^focal, which down-weights easy texts (Lin et al. 2017, eq. 4).
    """

    def __init__(self, train: PackedRows, validation: PackedRows, focal: float = 0.0, ordinal: bool = False) -> None:
        self.rows = {"train": train, "validation": validation}
        self.name = f"classification focal {focal}" if focal else "classification"
        if ordinal:
            self.name = "ordinal classification"
        self.focal, self.ordinal = focal, ordinal

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        at = batch.weights > 0  # the last token of each document
        scores = document_scores(model, batch, at)
        targets, weights = batch.targets[at], batch.weights[at]
        if self.ordinal:
            losses = threshold_losses(scores, targets)
        else:
            losses = F.cross_entropy(scores, targets, reduction="none")
        if self.focal:
            losses = losses * (1 - (-losses).exp()) ** self.focal
        total = (losses * weights).sum()
        named = median_labels(scores) if self.ordinal else scores.argmax(-1)
        right = (named == targets).float()
        return Loss(total, weights.sum(), {"accuracy": (right.sum(), right.new_tensor(float(len(right))))})
