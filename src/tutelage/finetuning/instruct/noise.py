"""Noise on the embeddings while a model is trained (NEFTune)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from tutelage.model.decoder import DecoderLM


def noise_scale(documents: Tensor, width: int, alpha: float) -> Tensor:
    """alpha / sqrt(L d) of each position [rows, length, 1]; L is the length of the position's own document, d `width`.

    documents [rows, length] int64, 0 where there is padding, which gets none.
    """
    lengths = torch.zeros_like(documents, dtype=torch.float32)
    for row, numbers in enumerate(documents):
        lengths[row] = torch.bincount(numbers)[numbers].float()
    scale = alpha / torch.sqrt(lengths.clamp(min=1) * width)
    return torch.where(documents > 0, scale, torch.zeros_like(scale)).unsqueeze(-1)


@contextlib.contextmanager
def noisy_embeddings(model: DecoderLM, documents: Tensor, alpha: float) -> Iterator[None]:
    """Within it, uniform noise in [-1, 1] times alpha / sqrt(L d) is added to what the first block reads (Jain et al.
    2023, arXiv:2310.05914, algorithm 1). Draws from torch's generator, which the loop seeds anew for every step."""

    def add(_module: Any, _given: Any, embedded: Tensor) -> Tensor:
        noise = torch.rand(embedded.shape, device=embedded.device) * 2 - 1
        return embedded + (noise * noise_scale(documents, embedded.shape[-1], alpha)).to(embedded.dtype)

    hook = model.embed_tokens.register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()
