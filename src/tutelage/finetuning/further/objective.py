"""The next-token objective over packed rows of documents and conversations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tutelage.model.decoder import DecoderLM
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import PackedRows
from tutelage.training.objective import Loss, summed_nll


class Further:
    """Mean negative log-likelihood of the next token; bits per byte, control tokens excluded, is a metric."""

    name = "further"

    def __init__(self, train: PackedRows, validation: PackedRows, token_bytes: Tensor) -> None:
        """token_bytes [vocab_size] int64: length in bytes of each token; 0 for a control token."""
        self.rows, self.token_bytes = {"train": train, "validation": validation}, token_bytes

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        total, nll, wanted = summed_nll(model, batch)
        length = self.token_bytes.to(nll.device)[batch.targets[wanted]]
        bits = nll[length > 0].sum() / math.log(2)
        weight = torch.tensor(float(len(nll)), device=nll.device)
        return Loss(total, weight, {"bits_per_byte": (bits, length.sum())})
