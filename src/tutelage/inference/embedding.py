"""One vector for a text: the mean of what the model's last layer says of its tokens."""

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

    rows: ids as they are read. skip: how many tokens at the beginning of each are read but not counted; the state of
    the first is often a hundred times as long as the others (Xiao et al. 2023, attention sinks), and says nothing of
    the text. A row needs more ids than that. going: asked before every batch; once it says no, the rest is zeros.
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
