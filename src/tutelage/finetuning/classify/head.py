"""What a classification head reads of texts, and what it says of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.finetuning.common import device_and_autocast
from tutelage.inference.scoring import last_states
from tutelage.model.decoder import DecoderLM
from tutelage.training.config import TrainingConfig
from tutelage.training.data.packing import Example


def states_and_scores(model: DecoderLM, examples: Sequence[Example], training: TrainingConfig) -> tuple[Tensor, Tensor]:
    """States [texts, hidden_size] at each text's last token, in the precision of the training, and scores [texts,
    labels] of them."""
    device, autocast = device_and_autocast(training)
    with autocast:
        states = last_states(model.to(device).eval(), [example.segments[0].tokens for example in examples])
    with torch.inference_mode():
        return states, model.scores(states.to(device)).cpu()
