"""Reading prompts: which are accepted, in chunks of how many tokens, and in which mode of torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from tutelage.model.decoder import DecoderLM
from tutelage.store.errors import InputError

READ_AT_ONCE = 512  # prefill tokens between two decoding steps, for a model of 300M parameters
_LEAST_READ = 32


def check_prompt(prompt: Sequence[int], context: int, vocab_size: int, what: str = "the prompt") -> None:
    """Raise InputError for a prompt that is empty, leaves no room for an answer, or has ids outside the vocabulary."""
    if not prompt:
        raise InputError(f"{what} has no tokens", hint="begin with the end-of-text token")
    if len(prompt) >= context:
        raise InputError(
            f"{what} has {len(prompt)} tokens, but the model's context is {context}, "
            "of which at least one is required for the answer",
            hint="shorten the prompt",
        )
    if not 0 <= min(prompt) <= max(prompt) < vocab_size:
        raise InputError(f"{what} has ids outside 0 to {vocab_size - 1}", hint="use the model's own tokenizer")


def chunk_length(model: DecoderLM) -> int:
    """Prefill chunk size: smaller for larger models, so that running answers are not delayed."""
    piece = READ_AT_ONCE
    while piece > _LEAST_READ and piece * model.num_parameters() > READ_AT_ONCE * 300e6:
        piece //= 2
    return piece


def untracked(model: DecoderLM) -> AbstractContextManager[Any]:
    """Inference mode, or no_grad for a sharded model, whose buffers are also used in training."""
    return torch.inference_mode() if type(model.embed_tokens.weight) is torch.nn.Parameter else torch.no_grad()
