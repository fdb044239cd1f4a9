"""Noise on the embeddings in training (NEFTune)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from tutelage.model.decoder import DecoderLM


def noise_scale(documents: Tensor, width: int, alpha: float) -> Tensor:
    """alpha / sqrt(L d) for each position, [rows, length, 1]; L is the length of its document, d is `width`.

    documents: [rows, length] int64, 0 for padding, whose scale is 0.
    """
    lengths = torch.zeros_like(documents, dtype=torch.float32)
    for row, numbers in enumerate(documents):
        lengths[row] = torch.bincount(numbers)[numbers].float()
    scale = alpha / torch.sqrt(lengths.clamp(min=1) * width)
    return torch.where(documents > 0, scale, torch.zeros_like(scale)).unsqueeze(-1)


@contextlib.contextmanager
def noisy_embeddings(model: DecoderLM, documents: Tensor, alpha: float) -> Iterator[None]:
    """Add uniform noise in [-1, 1] times alpha / sqrt(L d) to the input of the first block (Jain et al. 2023,
    arXiv:2310.05914, algorithm 1). Draws from torch's generator, which the loop seeds at every step."""

    def add(_module: Any, _given: Any, embedded: Tensor) -> Tensor:
        noise = torch.rand(embedded.shape, device=embedded.device) * 2 - 1
        return embedded + (noise * noise_scale(documents, embedded.shape[-1], alpha)).to(embedded.dtype)

    hook = model.embed_tokens.register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()
