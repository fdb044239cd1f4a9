"""Inputs and outputs of a classification head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.finetuning.classify.config import HeadConfig
from tutelage.finetuning.common import device_and_autocast
from tutelage.inference.scoring import last_states
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.hf_config import POOLING
from tutelage.model.pooling import pooled
from tutelage.store.events import EventLog
from tutelage.training.config import TrainingConfig
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import Example


def states_and_scores(model: DecoderLM, examples: Sequence[Example], training: TrainingConfig) -> tuple[Tensor, Tensor]:
    """Input states of the head, [texts, hidden_size], in the precision of training, and its scores, [texts, labels]."""
    device, autocast = device_and_autocast(training)
    with autocast:
        states = last_states(model.to(device).eval(), [example.segments[0].tokens for example in examples])
    with torch.inference_mode():
        return states, model.scores(states.to(device)).cpu()


def document_scores(model: DecoderLM, batch: Batch, ends: Tensor) -> Tensor:
    """Class logits [documents, labels] float32 of packed rows. ends [rows, length] bool: each document's last token."""
    hidden = model.hidden(batch.tokens, batch.positions, batch.documents)
    row, last = ends.nonzero(as_tuple=True)
    return model.scores(pooled(hidden, row, last, batch.positions[ends] + 1, model.config))


def pooling_of(config: HeadConfig, base: ModelConfig, log: EventLog) -> dict[str, Any]:
    """`pooling` and `pool_tokens` of the new model: as configured, else as in the parent."""
    found: dict[str, Any]
    if config.pooling is not None:
        found = {"pooling": config.pooling, "pool_tokens": config.pool_tokens}
    else:
        found = {"pooling": base.pooling, "pool_tokens": base.pool_tokens}
    if said := pooling_said(**found):
        log.note(said)
    return found


def pooling_said(pooling: str, pool_tokens: int) -> str:
    """A note on unusual pooling; empty for the last token."""
    if pooling == "last":
        return ""
    what = "all tokens" if pooling == "mean" else f"the last {pool_tokens} tokens"
    return (
        f"the input of the head is the mean over {what} of a text; config.json says so ({POOLING}), but transformers "
        "does not support it and would use the last token"
    )
