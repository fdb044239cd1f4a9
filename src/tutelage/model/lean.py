"""One token per row by a packed decoder, written flat: where a layer takes microseconds, its calls are what counts.

It computes what `DecoderLM.hidden` and `logits` do, but for rounding, for the plain kind of decoder that most families
are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.model.attention import Attention
from tutelage.model.cache import KVCache
from tutelage.model.decoder import DecoderLM
from tutelage.model.feedforward import FeedForward
from tutelage.model.flat import Layer, scripted, step
from tutelage.model.norms import RMSNorm
from tutelage.model.packed import Product
from tutelage.model.rope import inverse_frequencies

Views = list[tuple[Tensor, Tensor, Tensor, Tensor]]


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
        self._views: Any = []
        self.layers: Any = [_layer(block) for block in _blocks(model)]
        packed_head: Any = model.packed_head
        self.head: Any = [packed_head.parts]
        self._step = scripted() or step
        if self._step is not step:  # converted once, and not at every call
            self.layers, self.head = torch.jit.script(self.layers), torch.jit.script(self.head)

    def logits(self, tokens: Tensor, positions: Tensor, cache: KVCache) -> Tensor:
        """Next-token logits [rows, vocab_size], float32, of one token [rows, 1] a row at its position.

        Rows may share rows of the cache (`KVCache.sharing`).
        """
        sharing = cache.sharing
        logits = self._step(
            self.model.embed(tokens, positions)[:, 0],
            positions[:, 0],
            self.layers,
            self._views_of(cache),
            self.norm.weight,
            self.head,
            self.eps,
            self.frequencies,
            self.factor,
            self.scale,
            self.config.num_heads,
            self.config.activation,
            -1 if cache.start is None else cache.start,
            torch.arange(len(tokens)) if sharing is None else sharing.rows,
            [] if sharing is None else list(sharing.runs),
        )
        return self.model.bounded(logits)

    def _views_of(self, cache: KVCache) -> Any:
        """Keys and values of each layer, and the same by heads. Kept while the same view of a cache comes again."""
        if self._seen is not cache:
            views: Views = []
            for layer in cache.grown:
                keys, values = layer["keys"], layer["values"]
                views.append((keys, values, keys.flatten(0, 1).mT, values.flatten(0, 1)))
            self._seen, self._views = cache, views
        return self._views


def _blocks(model: DecoderLM) -> list[Any]:
    return list(model.layers)


def _layer(block: Any) -> Layer:
    attention, mlp, norms = block.attention, block.mlp, None
    if attention.config.qk_norm == "head":
        each = ((attention.q_norm, attention.config.num_heads), (attention.k_norm, attention.config.num_kv_heads))
        norms = torch.cat([norm.weight.expand(heads, -1) for norm, heads in each])
    return Layer(
        block.attention_norm.weight, attention.qkv_proj.parts, norms, attention.o_proj.parts,
        block.mlp_norm.weight, mlp.gate_up_proj.parts, mlp.down_proj.parts, attention.has_rope, attention.window or 0,
    )  # fmt: skip


def is_plain(model: DecoderLM) -> bool:
    """Whether the flat step knows all parts of a decoder: packed, grouped queries, RMSNorm before, a gated MLP."""
    config = model.config
    blocks = _blocks(model)
    return (
        isinstance(model.packed_head, Product)
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
            and hasattr(block.attention.qkv_proj, "parts") and hasattr(block.attention.o_proj, "parts")
            and hasattr(block.mlp.gate_up_proj, "parts") and hasattr(block.mlp.down_proj, "parts")
            for block in blocks
        )
    )  # fmt: skip
