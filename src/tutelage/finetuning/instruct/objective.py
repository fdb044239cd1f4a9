"""The objective of instruction finetuning over packed rows; logits are computed for target positions only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from tutelage.finetuning.instruct.noise import noisy_embeddings
from tutelage.model.decoder import DecoderLM
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import PackedRows
from tutelage.training.objective import Loss, stop_probability, summed_nll


class Instruction:
    """Next-token cross entropy on the answers, stop tokens included."""

    name = "instruction"

    def __init__(
        self, train: PackedRows, validation: PackedRows, noise: float = 0.0,
        sample: Callable[[DecoderLM, int], None] | None = None, stop_ids: Sequence[int] = (),
    ) -> None:  # fmt: skip
        """`noise`: NEFTune's alpha. `sample`: called with model and step after a validation. `stop_ids`: end tokens of
        answers; their mean probability as targets is a metric."""
        self.rows, self.noise = {"train": train, "validation": validation}, noise
        self.sample, self.stop_ids = sample, tuple(stop_ids)

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        noisy = self.noise and model.training
        with noisy_embeddings(model, batch.documents, self.noise) if noisy else contextlib.nullcontext():
            total, nll, wanted = summed_nll(model, batch, weighted=True)
        loss = Loss(total, batch.weights[wanted].sum())
        if self.stop_ids:
            loss.metrics["stop_probability"] = stop_probability(nll, batch.targets[wanted], self.stop_ids)
        return loss
