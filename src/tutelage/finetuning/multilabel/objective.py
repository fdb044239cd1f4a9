"""Binary cross entropy of every label, over packed rows."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tutelage.finetuning.classify.head import document_scores
from tutelage.model.decoder import DecoderLM
from tutelage.store.hashing import sha256_text
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import PackedRows
from tutelage.training.objective import Loss


class Multilabel:
    """Binary cross entropy of each document, summed over the labels, with weight 1 per text.

    A target is the index of the document in `wanted` [texts, labels].
    """

    def __init__(self, train: PackedRows, validation: PackedRows, wanted: NDArray[np.float32]) -> None:
        self.rows = {"train": train, "validation": validation}
        # The name identifies the run: the rows alone do not contain the labels.
        self.name = f"multilabel {sha256_text(wanted.tobytes().hex())[:16]}"
        self.wanted = torch.from_numpy(wanted)

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        at = batch.weights > 0  # the last token of each document
        scores = document_scores(model, batch, at)
        wanted = self.wanted.to(scores.device)[batch.targets[at]]
        total = F.binary_cross_entropy_with_logits(scores, wanted, reduction="sum")
        right = ((scores > 0) == (wanted > 0)).all(dim=-1).float()
        count = right.new_tensor(float(len(right)))
        return Loss(total, count, {"exact_match": (right.sum(), count)})
