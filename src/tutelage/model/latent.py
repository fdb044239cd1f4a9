"""Multi-head latent attention: the cache holds one small latent vector per token for all heads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model import blockwise, flex
from tutelage.model.attention import attend_plainly
from tutelage.model.config import ModelConfig
from tutelage.model.norms import RMSNorm
from tutelage.model.rope import rotate, yarn_scale
from tutelage.model.step import Step


class MultiHeadLatentAttention(nn.Module):
    """Keys and values are up-projected from a latent; the rotary part of a key is shared by all heads.

    DeepSeek-V2, section 2.1. With a cache the up-projections are absorbed into query and output, so that attention runs
    directly on the latents: one key-value head of kv_rank + rope_head_dim.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        assert config.latent is not None
        self.config, self.latent, self.layer, self.window = config, config.latent, layer, config.window(layer)
        heads, latent = config.num_heads, config.latent
        query_dim = latent.nope_head_dim + latent.rope_head_dim
        if latent.q_rank:
            self.q_down = nn.Linear(config.hidden_size, latent.q_rank, bias=config.attention_bias)
            self.q_norm = RMSNorm(latent.q_rank, eps=1e-6)
            self.q_up = nn.Linear(latent.q_rank, heads * query_dim, bias=False)
        else:
            self.q_proj = nn.Linear(config.hidden_size, heads * query_dim, bias=False)
        self.kv_down = nn.Linear(config.hidden_size, latent.kv_rank + latent.rope_head_dim, bias=config.attention_bias)
        self.kv_norm = RMSNorm(latent.kv_rank, eps=1e-6)
        self.kv_up = nn.Linear(latent.kv_rank, heads * (latent.nope_head_dim + latent.value_head_dim), bias=False)
        self.o_proj = nn.Linear(heads * latent.value_head_dim, config.hidden_size, bias=config.attention_out_bias)
        self.scale = config.attention_scale or query_dim**-0.5
        scaling = config.rope_scaling
        if scaling is not None and scaling.kind == "yarn" and scaling.mscale_all_dim:
            self.scale *= yarn_scale(scaling.factor, scaling.mscale_all_dim) ** 2

    def forward(self, x: Tensor, step: Step) -> Tensor:
        latent, heads = self.latent, self.config.num_heads
        queries = self.q_up(self.q_norm(self.q_down(x))) if latent.q_rank else self.q_proj(x)
        queries = queries.unflatten(-1, (heads, -1)).transpose(1, 2)  # [B, H, T, nope + rope]
        plain, rotated = queries.split([latent.nope_head_dim, latent.rope_head_dim], dim=-1)
        compressed, key = self.kv_down(x).split([latent.kv_rank, latent.rope_head_dim], dim=-1)
        compressed, key = self.kv_norm(compressed)[:, None], key[:, None]  # [B, 1, T, rank], [B, 1, T, rope]
        if self.config.has_rope(self.layer):
            assert step.rotary is not None
            rotated = rotate(rotated, *step.rotary, interleaved=self.config.rope_interleaved)
            key = rotate(key, *step.rotary, interleaved=self.config.rope_interleaved)
        out = (
            self._expanded(plain, rotated, compressed, key, step)
            if step.cache is None
            else self._absorbed(plain, rotated, compressed, key, step)
        )
        return self.o_proj(out.transpose(1, 2).flatten(2))

    def _expanded(self, plain: Tensor, rotated: Tensor, compressed: Tensor, key: Tensor, step: Step) -> Tensor:
        both = self.kv_up(compressed[:, 0]).unflatten(-1, (self.config.num_heads, -1)).transpose(1, 2)
        keys, values = both.split([self.latent.nope_head_dim, self.latent.value_head_dim], dim=-1)
        keys = torch.cat([keys, key.expand(-1, self.config.num_heads, -1, -1)], dim=-1)
        queries = torch.cat([plain, rotated], dim=-1)
        if flex.is_for(queries, step.mask.cached, step.documents):
            return flex.attend_in_blocks(queries, keys, values, step.mask.blocks(self.window), self.scale)
        if blockwise.is_for(values, step.mask.cached):
            return blockwise.attend(queries, keys, values, step.mask.visible(values.dtype, self.window), self.scale)
        mask = step.mask.allowed(self.window)
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=mask is None, scale=self.scale
        )

    def _absorbed(self, plain: Tensor, rotated: Tensor, compressed: Tensor, key: Tensor, step: Step) -> Tensor:
        assert step.cache is not None
        compressed, key = step.cache.write(self.layer, step.positions, latent=compressed, rotated=key)
        up = self.kv_up.weight.unflatten(0, (self.config.num_heads, -1))  # [H, nope + value, rank]
        to_key, to_value = up.split([self.latent.nope_head_dim, self.latent.value_head_dim], dim=1)
        queries = torch.cat([plain @ to_key, rotated], dim=-1)  # [B, H, T, rank + rope]
        keys = torch.cat([compressed, key], dim=-1)
        out = attend_plainly(queries, keys, compressed, step.mask.explicit(self.window), self.scale)
        return out @ to_value.mT
