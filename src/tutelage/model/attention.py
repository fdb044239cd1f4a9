"""Causal self-attention: grouped queries, windows, norms, softcap, sinks, gate and bias as configured."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model import blockwise, flex
from tutelage.model.autocast import cast_once
from tutelage.model.config import ModelConfig
from tutelage.model.mask import alibi_slopes
from tutelage.model.norms import make_norm
from tutelage.model.rope import rotate, rotate_widely
from tutelage.model.step import Step

IN_ORDER = 128  # queries per prefill block on a CPU


class Attention(nn.Module):
    """Multi-head attention; `num_kv_heads` between 1 (MQA) and num_heads (MHA) shares keys among queries (GQA)."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer, dim = config, layer, config.dim_per_head
        self.window, self.has_rope = config.window(layer), config.has_rope(layer)
        queries, keys = config.num_heads * dim, config.num_kv_heads * dim
        self.q_proj = nn.Linear(config.hidden_size, queries, bias=config.attention_bias)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=config.attention_bias)
        self.v_proj = nn.Linear(config.hidden_size, keys, bias=config.attention_bias)
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=config.attention_out_bias)
        if config.attention_gate:
            self.g_proj = nn.Linear(config.hidden_size, queries, bias=config.attention_bias)
        if config.qk_norm != "none":
            per_head = config.qk_norm == "head"
            self.q_norm = make_norm(config, dim if per_head else queries)
            self.k_norm = make_norm(config, dim if per_head else keys)
        if config.attention_sinks:
            self.sinks = nn.Parameter(torch.zeros(config.num_heads))
        self.qkv_proj: nn.Module | None = None  # replaces the three in inference-only models (`model.pack`)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        config = self.config
        x = cast_once(x)
        queries, keys, values = self._projected(x, step) if self.qkv_proj is None else self._joined(x, step)
        if step.cache is not None:
            keys, values = step.cache.write(self.layer, step.positions, keys=keys, values=values)
        out = self._attend(queries, keys, values, step).transpose(1, 2).flatten(2)
        if config.attention_gate:
            out = out * self.g_proj(x).sigmoid()  # Qiu et al. 2025: replaces sinks, because a head can output zero
        return self.o_proj(out)

    def _projected(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, H, T, D], keys and values [B, H_kv, T, D]."""
        config = self.config
        queries, keys, values = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if config.qk_norm == "layer":
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        queries, keys, values = self._heads(queries), self._heads(keys), self._heads(values)  # [B, T, H, D]
        if config.qk_norm == "head":
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        queries, keys, values = queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)
        if self.has_rope:
            rotary = step.local_rotary if self.window and config.rope_local_theta else step.rotary
            assert rotary is not None
            queries = rotate(queries, *rotary, interleaved=config.rope_interleaved)
            keys = rotate(keys, *rotary, interleaved=config.rope_interleaved)
        return queries, keys, values

    def _joined(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """The fused variant of inference-only models; queries and keys are rotated together."""
        config = self.config
        assert self.qkv_proj is not None
        both, values = [config.num_heads, config.num_kv_heads], config.num_kv_heads
        made = self.qkv_proj(x)
        if config.qk_norm == "layer":
            dim = config.dim_per_head
            queries, keys, others = made.split([both[0] * dim, both[1] * dim, values * dim], dim=-1)
            made = torch.cat([self.q_norm(queries), self.k_norm(keys), others], dim=-1)
        heads = self._heads(made)  # [B, T, H + 2 H_kv, D]
        if config.qk_norm == "head":
            queries, keys, others = heads.split([*both, values], dim=2)
            heads = torch.cat([self.q_norm(queries), self.k_norm(keys), others], dim=2)
        together, others = heads.transpose(1, 2).split([sum(both), values], dim=1)
        if self.has_rope and config.rope_interleaved:
            rotary = step.local_rotary if self.window and config.rope_local_theta else step.rotary
            assert rotary is not None
            together = rotate(together, *rotary, interleaved=True)
        elif self.has_rope:
            wide = step.wide_local_rotary if self.window and config.rope_local_theta else step.wide_rotary
            assert wide is not None
            together = rotate_widely(together, *wide)
        queries, keys = together.split(both, dim=1)
        return queries, keys, others

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.config.dim_per_head))

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, step: Step) -> Tensor:
        config = self.config
        scale = config.attention_scale or config.dim_per_head**-0.5
        special = config.positions == "alibi" or config.attention_sinks
        if not special and not config.attention_softcap and values.device.type == "cpu":
            if queries.shape[2] == 1:
                return attend_from_one(queries, keys, values, step.mask.added(self.window, values.dtype), scale)
            if step.cache is not None and step.cache.start is not None:
                added = step.mask.added(self.window, values.dtype)
                return attend_in_order(queries, keys, values, added, scale, step.cache.start)
        if not special and flex.is_for(queries, step.mask.cached, step.documents):
            blocks = step.mask.blocks(self.window)
            return flex.attend_in_blocks(queries, keys, values, blocks, scale, config.attention_softcap)
        bias = None
        if config.positions == "alibi":
            bias = step.mask.distances() * -alibi_slopes(config.num_heads).to(queries.device)[:, None, None]
        if config.attention_softcap or config.attention_sinks:
            mask = step.mask.explicit(self.window)
            return attend_plainly(
                queries, keys, values, mask, scale, config.attention_softcap,
                self.sinks if config.attention_sinks else None, bias,
            )  # fmt: skip
        if bias is None and blockwise.is_for(values, step.mask.cached):
            return blockwise.attend(queries, keys, values, step.mask.visible(values.dtype, self.window), scale)
        if bias is not None:
            allowed: Tensor | None = bias.masked_fill(~step.mask.explicit(self.window), float("-inf")).to(queries.dtype)
        else:
            allowed = step.mask.allowed(self.window)
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=allowed, is_causal=allowed is None, scale=scale,
            enable_gqa=config.num_heads != config.num_kv_heads,
        )  # fmt: skip


def attend_from_one(queries: Tensor, keys: Tensor, values: Tensor, added: Tensor, scale: float) -> Tensor:
    """Attention of one query per head, for a decoding step; on a CPU faster than the fused kernel.

    queries [B, H, 1, D], keys and values [B, H_kv, S, D], added [B, 1, 1, S]: 0 for visible keys, else -inf. A row's
    result depends neither on B nor on invisible positions, if S is a multiple of 16.
    """
    batch, shared, length, dim = keys.shape
    grouped = queries.reshape(batch * shared, -1, dim)
    if batch > 1:
        added = added.expand(batch, shared, 1, length).flatten(0, 1)
    else:
        added = added[0]
    scores = torch.baddbmm(added, grouped, keys.reshape(batch * shared, length, dim).mT, alpha=scale)
    out = torch.bmm(scores.softmax(-1), values.reshape(batch * shared, length, dim))
    return out.view(batch, -1, 1, dim)


def attend_in_order(queries: Tensor, keys: Tensor, values: Tensor, added: Tensor, scale: float, start: int) -> Tensor:
    """Attention of T consecutive positions from `start`, for a prefill chunk on a CPU.

    queries [B, H, T, D], keys and values [B, H_kv, S, D], added [B or 1, 1, T, S]. In blocks, each up to its last
    visible key; block boundaries are fixed positions, independent of T, so that the order of summation is fixed.
    """
    out, end = [], start + queries.shape[2]
    for at in range(start // IN_ORDER * IN_ORDER, end, IN_ORDER):
        block = slice(max(at, start) - start, min(at + IN_ORDER, end) - start)
        seen = slice(0, at + IN_ORDER)
        out.append(
            F.scaled_dot_product_attention(
                queries[:, :, block], keys[:, :, seen], values[:, :, seen], attn_mask=added[:, :, block, seen],
                scale=scale, enable_gqa=queries.shape[1] != keys.shape[1],
            )
        )  # fmt: skip
    return out[0] if len(out) == 1 else torch.cat(out, dim=2)


def attend_plainly(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor,
    scale: float,
    softcap: float = 0.0,
    sinks: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Eager attention, for features that fused kernels do not support.

    queries [B, H, T, D], keys and values [B, H_kv, S, D], mask boolean [B, 1, T, S]. softcap: c tanh(score / c) (Gemma
    2, section 2). sinks [H]: an extra score in the softmax without a value (Xiao et al. 2023).
    """
    groups = queries.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
    scores = (queries @ keys.mT).float() * scale
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias
    scores = scores.masked_fill(~mask, float("-inf"))
    if sinks is not None:
        aside = sinks.float()[None, :, None, None].expand(*scores.shape[:3], 1)
        weights = torch.cat([scores, aside], dim=-1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    return weights.to(values.dtype) @ values
