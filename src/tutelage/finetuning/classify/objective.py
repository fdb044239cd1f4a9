"""Classification over packed rows: a loss as (sum, weight), so that microbatches add up exactly."""

from __future__ import annotations

import torch.nn.functional as F

from tutelage.model.decoder import DecoderLM
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import PackedRows
from tutelage.training.objective import Loss


class Classification:
    """Cross entropy of the label at each document's last token. Targets are label indices."""

    name = "classification"

    def __init__(self, train: PackedRows, validation: PackedRows) -> None:
        self.rows = {"train": train, "validation": validation}

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        at = batch.weights > 0
        hidden = model.hidden(batch.tokens, batch.positions, batch.documents)
        scores = model.scores(hidden[at])  # [documents, labels]
        targets, weights = batch.targets[at], batch.weights[at]
        total = (F.cross_entropy(scores, targets, reduction="none") * weights).sum()
        right = (scores.argmax(-1) == targets).float()
        return Loss(total, weights.sum(), {"accuracy": (right.sum(), right.new_tensor(float(len(right))))})
