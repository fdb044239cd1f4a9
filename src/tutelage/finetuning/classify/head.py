"""The classification head: put on a model, and what it says of texts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.finetuning.common import device_and_autocast
from tutelage.inference.scoring import last_scores
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


def last_token_scores(model: DecoderLM, examples: Sequence[Example], training: TrainingConfig) -> Tensor:
    """Scores [texts, labels] at each text's last token, in the precision of the training."""
    device, autocast = device_and_autocast(training)
    with autocast:
        found = last_scores(model.to(device).eval(), [example.segments[0].tokens for example in examples])
    return torch.stack(found)
