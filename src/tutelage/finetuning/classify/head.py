"""The classification head: put on a model, and what it says of texts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.finetuning.common import device_and_autocast
from tutelage.inference.scoring import last_states
from tutelage.model.decoder import DecoderLM
from tutelage.training.config import TrainingConfig
from tutelage.training.data.packing import Example


def with_head(base: DecoderLM, labels: Sequence[str], seed: int, multi_label: bool = False) -> DecoderLM:
    """The same weights with a classification head: its own if it has one for these labels, else drawn from `seed`."""
    if base.config.labels == tuple(labels) and base.config.multi_label == multi_label:
        return base
    config = base.config.with_(num_labels=len(labels), labels=tuple(labels), multi_label=multi_label)
    with torch.device("meta"):
        model = DecoderLM(config, seed=None)
    state = {name: value.clone() for name, value in base.state_dict().items() if name != "score.weight"}
    generator = torch.Generator().manual_seed(seed)
    head = torch.empty(len(labels), config.hidden_size).normal_(0.0, config.initializer_range, generator=generator)
    model.load_state_dict({**state, "score.weight": head}, assign=True)
    return model


def states_and_scores(model: DecoderLM, examples: Sequence[Example], training: TrainingConfig) -> tuple[Tensor, Tensor]:
    """States [texts, hidden_size] at each text's last token, in the precision of the training, and scores [texts,
    labels] of them."""
    device, autocast = device_and_autocast(training)
    with autocast:
        states = last_states(model.to(device).eval(), [example.segments[0].tokens for example in examples])
    with torch.inference_mode():
        return states, model.scores(states.to(device)).cpu()
