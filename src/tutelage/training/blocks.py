"""How a model's blocks run in training: compiled, or with activation checkpointing."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import torch
from torch.utils.checkpoint import checkpoint

from tutelage.model import blockwise
from tutelage.model.decoder import DecoderLM
from tutelage.model.lora_layers import cast_frozen
from tutelage.training.config import TrainingConfig


@contextlib.contextmanager
def prepared(model: DecoderLM, config: TrainingConfig) -> Iterator[None]:
    """Context in which the blocks run as `config` sets; names and weights are unchanged, and everything is restored.

    activation_checkpointing: only the input of each block is stored for the backward pass, which recomputes the block:
    a third more compute for a fraction of the memory (Chen et al. 2016, section 4). compile: each block is compiled to
    fused kernels. In bfloat16, frozen matrices under adapters are cast once.
    """
    if config.compile:
        blockwise.compile_around()
    for block in model.layers:
        if config.activation_checkpointing:
            block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
        if config.compile:
            block.compile()
    lower = config.precision == "bfloat16"
    try:
        with cast_frozen(model, torch.bfloat16) if lower else contextlib.nullcontext():
            yield
    finally:
        for block in model.layers:
            block.__dict__.pop("forward", None)
            block._compiled_call_impl = None
