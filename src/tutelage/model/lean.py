"""One token per row by a packed decoder, written flat: where a layer takes microseconds, its calls are what counts.

It computes what `DecoderLM.hidden` does, but for rounding, for the plain kind of decoder that most families are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tutelage.model.attention import Attention
from tutelage.model.cache import KVCache, Sharing
from tutelage.model.decoder import DecoderLM
from tutelage.model.feedforward import FeedForward, gate
from tutelage.model.mask import AttentionMask
from tutelage.model.norms import RMSNorm, rms_norm_only
from tutelage.model.rope import inverse_frequencies

Product = Callable[[Tensor], Tensor]


class _Layer(NamedTuple):
    attention_norm: Tensor
    qkv: Product
    head_norms: Tensor | None  # of each head of queries and keys, [H + H_kv, dim]
    out: Product
    mlp_norm: Tensor
    gate_up: Product
    down: Product
    window: int | None
    has_rope: bool


class LeanDecoder:
    """The decoding step of a packed decoder. Raises ValueError for a decoder that is not plain (`is_plain`)."""

    def __init__(self, model: DecoderLM) -> None:
        if not is_plain(model):
            raise ValueError("this decoder has parts that the flat step does not know")
        config = model.config
        self.model, self.config = model, config
        self.eps = torch.tensor(config.norm_eps)
        self.frequencies, self.factor = inverse_frequencies(config)
        self.scale = config.attention_scale or config.dim_per_head**-0.5
        self.norm: Any = model.norm
        self._seen: KVCache | None = None
        self._kept: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.layers = [_layer(block) for block in model.layers]

    def hidden(self, tokens: Tensor, positions: Tensor, cache: KVCache) -> Tensor:
        """Hidden states [rows, hidden_size] after the final norm, of one token [rows, 1] a row at its position.

        Rows may share rows of the cache (`KVCache.sharing`).
        """
        config, eps = self.config, self.eps
        rows, shared, dim = len(tokens), config.num_kv_heads, config.dim_per_head
        turned, groups = config.num_heads + shared, config.num_heads // shared
        mask = AttentionMask(positions, None, cache.length)
        angles = positions.float() * self.frequencies  # [rows, dim / 2]
        cosines, sines = (angles.cos() * self.factor)[:, None], (angles.sin() * self.factor)[:, None]
        cosines, sines = torch.cat([cosines, cosines], dim=-1), torch.cat([-sines, sines], dim=-1)  # [rows, 1, dim]
        start, sharing, places = cache.start, cache.sharing, positions[:, 0]
        owners = torch.arange(rows) if sharing is None else sharing.rows
        x = self.model.embed(tokens, positions)[:, 0]
        added: dict[int | None, Tensor] = {}
        sizes, parts = [turned, shared], [config.num_heads, shared]
        for layer, (keys, values, keys_by_head, values_by_head) in zip(self.layers, self._views(cache), strict=True):
            heads = layer.qkv(rms_norm_only(x, layer.attention_norm, eps)).view(rows, -1, dim)
            both, new_values = heads.split(sizes, 1)
            both = both.float()
            if layer.head_norms is not None:
                both = rms_norm_only(both, layer.head_norms, eps)
            if layer.has_rope:
                swapped = both.view(rows, turned, 2, -1).flip(2).view(rows, turned, dim)
                both = torch.addcmul(both * cosines, swapped, sines)
            queries, new_keys = both.split(parts, 1)
            if start is not None:
                keys.select(2, start).copy_(new_keys)
                values.select(2, start).copy_(new_values)
            else:
                keys[owners, :, places] = new_keys
                values[owners, :, places] = new_values.float()
            if layer.window not in added:
                added[layer.window] = _per_head(mask.added(layer.window, torch.float32), shared)
            queries = queries.reshape(rows * shared, groups, dim)
            if sharing is None:
                weights = torch.baddbmm(added[layer.window], queries, keys_by_head, alpha=self.scale).softmax(-1)
                mixed = torch.bmm(weights, values_by_head)
            else:
                mixed = attend_sharing(queries, keys_by_head, values_by_head, added[layer.window], self.scale, sharing)
            x = x + layer.out(mixed.view(rows, -1))
            halves = layer.gate_up(rms_norm_only(x, layer.mlp_norm, eps)).chunk(2, dim=-1)
            x = x + layer.down(gate(config.activation, *halves))
        return rms_norm_only(x, self.norm.weight, eps)

    def _views(self, cache: KVCache) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Of each layer keys and values [rows, heads, length, dim], and the same by heads for products: keys
        [rows heads, dim, length], values [rows heads, length, dim]. Kept while the same view of a cache comes again."""
        if self._seen is not cache:
            self._seen, self._kept = cache, []
            for layer in cache.grown:
                keys, values = layer["keys"], layer["values"]
                self._kept.append((keys, values, keys.flatten(0, 1).mT, values.flatten(0, 1)))
        return self._kept


def attend_sharing(
    queries: Tensor, keys: Tensor, values: Tensor, added: Tensor, scale: float, sharing: Sharing
) -> Tensor:
    """Attention of one query per head and row of the batch where several rows read the same row of a cache.

    queries [rows heads, groups, dim], keys [cached heads, dim, length], values [cached heads, length, dim], added
    [rows heads, 1, length]. Each product is of the shape that it has without sharing, so that its result is the same to
    the bit; what is shared is not copied.
    """
    heads, out = len(queries) // len(sharing.rows), queries.new_empty(queries.shape)
    for first, count, row, rows in sharing.runs:
        if count == rows:
            own, cached = slice(first * heads, (first + count) * heads), slice(row * heads, (row + rows) * heads)
            weights = torch.baddbmm(added[own], queries[own], keys[cached], alpha=scale).softmax(-1)
            out[own] = torch.bmm(weights, values[cached])
            continue
        for head in range(row * heads, (row + 1) * heads):  # fewer than there are rows, mostly
            own = slice(first * heads + head - row * heads, (first + count) * heads, heads)
            weights = torch.baddbmm(added[own], queries[own], keys[head].expand(count, -1, -1), alpha=scale)
            out[own] = torch.bmm(weights.softmax(-1), values[head].expand(count, -1, -1))
    return out


def _layer(block: Any) -> _Layer:
    attention, mlp, norms = block.attention, block.mlp, None
    if attention.config.qk_norm == "head":
        each = ((attention.q_norm, attention.config.num_heads), (attention.k_norm, attention.config.num_kv_heads))
        norms = torch.cat([norm.weight.expand(heads, -1) for norm, heads in each])
    return _Layer(
        block.attention_norm.weight, attention.qkv_proj.few, norms, attention.o_proj.few,
        block.mlp_norm.weight, mlp.gate_up_proj.few, mlp.down_proj.few, attention.window, attention.has_rope,
    )  # fmt: skip


def is_plain(model: DecoderLM) -> bool:
    """Whether the flat step knows all parts of a decoder: packed, grouped queries, RMSNorm before, a gated MLP."""
    config = model.config
    blocks: list[Any] = list(model.layers)
    return (
        model.packed_head is not None
        and model.embed_tokens.weight.device.type == "cpu"
        and config.norm_place == "pre"
        and not config.parallel_residual
        and config.residual_multiplier == 1
        and config.positions == "rope"
        and config.rotary_dim == config.dim_per_head
        and not config.rope_interleaved
        and not config.rope_local_theta
        and config.qk_norm in ("none", "head")
        and not (config.attention_gate or config.attention_sinks or config.attention_softcap)
        and all(type(norm) is RMSNorm for norm in (model.norm, blocks[0].attention_norm))
        and all(
            type(block.attention) is Attention and type(block.mlp) is FeedForward
            and hasattr(block.attention.qkv_proj, "few") and hasattr(block.attention.o_proj, "few")
            and hasattr(block.mlp.gate_up_proj, "few") and hasattr(block.mlp.down_proj, "few")
            for block in blocks
        )
    )  # fmt: skip


def _per_head(added: Tensor, heads: int) -> Tensor:
    """[B, 1, 1, S] as [B heads, 1, S], or [1, 1, S] where B is 1."""
    return added[0] if len(added) == 1 else added.expand(-1, heads, -1, -1).flatten(0, 1)
