"""One decoding step as one function over plain tensors, which TorchScript runs without Python between torch's calls.

Where a layer takes a tenth of a millisecond, much of it is Python calling torch. Where TorchScript does not take the
function (it is an old part of torch), Python runs it, with the same numbers.
"""
# No `from __future__ import annotations`: TorchScript reads the types of a NamedTuple's fields as they are.

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.jit import optimized_execution  # type: ignore[attr-defined]

from tutelage.model.feedforward import gate
from tutelage.model.norms import rms_norm_only
from tutelage.model.products import Parts, multiply


class Layer(NamedTuple):
    """The weights of one layer."""

    attention_norm: Tensor
    qkv: Parts
    head_norms: Tensor | None  # of each head of queries and keys, [H + H_kv, dim]
    out: Parts
    mlp_norm: Tensor
    gate_up: Parts
    down: Parts
    has_rope: bool
    window: int  # 0: none


def step(
    x: Tensor,
    positions: Tensor,
    layers: list[Layer],
    caches: list[tuple[Tensor, Tensor, Tensor, Tensor]],
    norm: Tensor,
    head: list[Parts],
    eps: Tensor,
    frequencies: Tensor,
    factor: float,
    scale: float,
    num_heads: int,
    activation: str,
    start: int,
    owners: Tensor,
    runs: list[tuple[int, int, int, int]],
) -> Tensor:
    """Logits [rows, vocab_size], float32, of embeddings x [rows, hidden_size] at positions [rows].

    caches: of each layer keys and values [cached, H_kv, length, dim], and the same by heads for products: keys
    [cached H_kv, dim, length], values [cached H_kv, length, dim]. head: one. start: the position of the only row, or
    -1. owners [rows]: the cache row of each; runs: as of `Sharing`, none where each row has one to itself.
    """
    rows, shared, dim = x.shape[0], caches[0][0].shape[1], caches[0][0].shape[3]
    behind = positions[:, None] - torch.arange(caches[0][0].shape[2])
    masks: dict[int, Tensor] = {}  # by window: what is added to the scores, [rows H_kv or 1, 1, length]
    turned, groups = num_heads + shared, num_heads // shared
    angles = (positions[:, None].to(torch.float32) * frequencies)[:, None]  # [rows, 1, dim / 2]
    cosines, sines = angles.cos() * factor, angles.sin() * factor
    cosines, sines = torch.cat([cosines, cosines], dim=-1), torch.cat([-sines, sines], dim=-1)
    for index, layer in enumerate(layers):
        keys, values, keys_by_head, values_by_head = caches[index]
        made = multiply(rms_norm_only(x, layer.attention_norm, eps), layer.qkv).view(rows, -1, dim)
        heads, new_values = torch.split_with_sizes(made, [turned, shared], 1)
        both = heads.to(torch.float32)
        head_norms = layer.head_norms
        if head_norms is not None:
            both = rms_norm_only(both, head_norms, eps)
        if layer.has_rope:
            swapped = both.view(rows, turned, 2, -1).flip(2).view(rows, turned, dim)
            both = torch.addcmul(both * cosines, swapped, sines)
        queries, new_keys = torch.split_with_sizes(both, [num_heads, shared], 1)
        if start >= 0:
            keys.select(2, start).copy_(new_keys)
            values.select(2, start).copy_(new_values)
        else:
            keys[owners, :, positions] = new_keys
            values[owners, :, positions] = new_values.to(torch.float32)
        queries = queries.reshape(rows * shared, groups, dim)
        window = layer.window
        if window not in masks:
            masks[window] = _mask(behind, window, shared)
        added = masks[window]
        if len(runs) == 0:
            weights = torch.baddbmm(added, queries, keys_by_head, alpha=scale).softmax(-1)
            mixed = torch.bmm(weights, values_by_head)
        else:
            mixed = attend_sharing(queries, keys_by_head, values_by_head, added, scale, rows, runs)
        x = x + multiply(mixed.view(rows, -1), layer.out)
        gated, up = multiply(rms_norm_only(x, layer.mlp_norm, eps), layer.gate_up).chunk(2, dim=-1)
        x = x + multiply(gate(activation, gated, up), layer.down)
    return multiply(rms_norm_only(x, norm, eps), head[0]).to(torch.float32)


def _mask(behind: Tensor, window: int, heads: int) -> Tensor:
    """0 where a key may be seen, else -inf, by how far it is behind [rows, length]."""
    hidden = behind < 0
    if window > 0:
        hidden = hidden | (behind >= window)
    added = torch.zeros(hidden.shape).masked_fill_(hidden, -float("inf"))[:, None]
    return added if added.shape[0] == 1 else added.repeat_interleave(heads, 0)


def attend_sharing(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    added: Tensor,
    scale: float,
    rows: int,
    runs: list[tuple[int, int, int, int]],
) -> Tensor:
    """Attention of one query per head and row of the batch where several rows read the same row of a cache.

    queries [rows heads, groups, dim], keys [cached heads, dim, length], values [cached heads, length, dim], added
    [rows heads, 1, length]. Each product is of the shape that it has without sharing, so that its result is the same to
    the bit; what is shared is not copied.
    """
    heads, out = queries.shape[0] // rows, torch.empty_like(queries)
    for first, count, row, cached in runs:
        if count == cached:
            begin, end, there, past = first * heads, (first + count) * heads, row * heads, (row + cached) * heads
            weights = torch.baddbmm(added[begin:end], queries[begin:end], keys[there:past], alpha=scale).softmax(-1)
            out[begin:end] = torch.bmm(weights, values[there:past])
        else:
            for head in range(heads):  # fewer than there are rows, mostly
                begin, end, there = first * heads + head, (first + count) * heads, row * heads + head
                own = queries[begin:end:heads]
                weights = torch.baddbmm(
                    added[begin:end:heads], own, keys[there].expand(count, -1, -1), alpha=scale
                ).softmax(-1)
                out[begin:end:heads] = torch.bmm(weights, values[there].expand(count, -1, -1))
    return out


@cache
def scripted() -> Callable[..., Tensor] | None:
    """`step` by TorchScript, layers and head given as `torch.jit.script(list)`; None where TorchScript fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            compiled: Any = torch.jit.script(step)
        except (RuntimeError, ValueError, TypeError, OSError):
            return None

    def run(*given: Any) -> Tensor:
        with optimized_execution(False):  # there is nothing to fuse, and finding that out takes time
            return compiled(*given)

    return run
