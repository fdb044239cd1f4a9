"""Text embeddings: the mean of the last layer's hidden states."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tutelage.inference.scoring import length_batches, padded
from tutelage.model.decoder import DecoderLM


@torch.inference_mode()
def mean_states(
    model: DecoderLM, rows: Sequence[Sequence[int]], skip: int = 1, going: Callable[[], bool] = lambda: True
) -> Tensor:
    """[rows, hidden_size] float32 on the CPU, each of length 1: the mean of the hidden states after the final norm.

    rows: input ids. skip: number of leading tokens excluded from the mean, because the norm of the first state is often
    a hundred times that of the others (attention sinks, Xiao et al. 2023); each row must be longer. going: called
    before every batch; if it returns False, the remaining rows are zeros.
    """
    device = model.embed_tokens.weight.device
    made = torch.zeros(len(rows), model.config.hidden_size)
    for batch in length_batches([len(ids) for ids in rows]):
        if not going():
            break
        hidden = model.hidden(padded([rows[at] for at in batch]).to(device)).float()
        for place, at in enumerate(batch):
            mean = hidden[place, skip : len(rows[at])].mean(0)
            made[at] = torch.nn.functional.normalize(mean, dim=0).cpu()
    return made
