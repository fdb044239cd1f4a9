"""Causal self-attention with grouped queries, rotary positions and one mask."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model.cache import KVCache
from tutelage.model.config import ModelConfig


def attention_mask(documents: Tensor | None, positions: Tensor, cache: KVCache | None) -> Tensor | None:
    """Who may attend to whom, as one boolean mask [B, 1, T, S]; None means plain causal.

    documents [B, T]: a token sees only its own document (packed equals separate). With a cache, a query sees
    the cache indices up to its own position.
    """
    if cache is not None:
        index = torch.arange(cache.length, device=positions.device)
        return (index <= positions[:, :, None])[:, None]
    if documents is None:
        return None
    length = documents.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=documents.device).tril()
    return ((documents[:, :, None] == documents[:, None, :]) & causal)[:, None]


def rotary_table(config: ModelConfig, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions, each [length, head_dim / 2], float32. RoFormer, eq. 15."""
    dim = config.dim_per_head
    frequencies = config.rope_theta ** (-torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    angles = torch.arange(length, dtype=torch.float32)[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate the two halves of each head by the position's angles. x [B, H, T, D], tables [B, 1, T, D/2]."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)


class Attention(nn.Module):
    """Grouped-query attention; queries and keys RMS-normalised per head where the family does (QK-norm)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config, dim = config, config.dim_per_head
        self.q_proj = nn.Linear(config.hidden_size, config.num_heads * dim, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, config.num_kv_heads * dim, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, config.num_kv_heads * dim, bias=False)
        self.o_proj = nn.Linear(config.num_heads * dim, config.hidden_size, bias=False)
        if config.qk_norm:
            self.q_norm = nn.RMSNorm(dim, eps=config.rms_norm_eps)
            self.k_norm = nn.RMSNorm(dim, eps=config.rms_norm_eps)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None,
        positions: Tensor,
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        rows, length, _ = x.shape
        heads = (rows, length, -1, self.config.dim_per_head)
        queries, keys = self.q_proj(x).view(heads), self.k_proj(x).view(heads)
        values = self.v_proj(x).view(heads).transpose(1, 2)
        if self.config.qk_norm:
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        queries = rotate(queries.transpose(1, 2), *rotary).to(values.dtype)  # [B, H, T, D]
        keys = rotate(keys.transpose(1, 2), *rotary).to(values.dtype)
        if cache is not None:
            keys, values = cache.write(layer, keys, values, positions)
        out = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None,
            enable_gqa=self.config.num_heads != self.config.num_kv_heads,
        )
        return self.o_proj(out.transpose(1, 2).reshape(rows, length, -1))
