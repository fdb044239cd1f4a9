"""Instruction finetuning over packed rows. Prompts and padding never meet the vocabulary."""

from __future__ import annotations

from tutelage.model.decoder import DecoderLM
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import PackedRows
from tutelage.training.objective import Loss, target_nll


class Instruction:
    """Next-token cross entropy on what the assistant says, its stop token included, and on nothing else."""

    name = "instruction"

    def __init__(self, train: PackedRows, validation: PackedRows) -> None:
        self.rows = {"train": train, "validation": validation}

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        nll, wanted = target_nll(model, batch)
        weights = batch.weights[wanted]
        return Loss((nll * weights).sum(), weights.sum())
