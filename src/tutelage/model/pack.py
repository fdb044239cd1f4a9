"""Pack a decoder for inference: matrices in fewer bits, and fused products for matrices with the same input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from tutelage.model.adaptable import projections, replace
from tutelage.model.attention import Attention
from tutelage.model.decoder import DecoderLM
from tutelage.model.feedforward import FeedForward
from tutelage.model.packed import Blocks, ByteLinear, HalfLinear, PackedLinear, Product, packs

Packing = Literal["bfloat16", "int8", "int4"]
_USED_BY_HAND = ("kv_up", "shared_gate")  # used as dense matrices by their modules, or too small to matter

Part = tuple[Tensor | Blocks, Tensor | None]  # weight and bias


@torch.no_grad()
def pack(model: DecoderLM, kind: Packing, blocks: Mapping[str, Blocks] | None = None) -> DecoderLM:
    """Replace the matrices of `model` in place, for inference only, and return it.

    Products run in bfloat16, everything else in float32. `int4` and `int8`: storage of the matrices (`packed`), with
    embeddings in bfloat16; with `int4` the head has 8 bits, because 4 would visibly affect the answers. Matrices
    unsupported by the kernels stay in bfloat16, experts are unchanged. `blocks`: weights that are already in 4 bits, by
    parameter name; their parameters may be on the meta device.
    """
    given = blocks or {}
    count = model.num_parameters()
    head = _matrix(model.head_weight, given, "embed_tokens" if model.config.tie_word_embeddings else "lm_head")
    for path, module in list(model.named_modules()):
        if isinstance(module, Attention):
            module.qkv_proj = _joined(module, path, ("q_proj", "k_proj", "v_proj"), kind, given)
        elif isinstance(module, FeedForward) and module.gated:
            module.gate_up_proj = _joined(module, path, ("gate_proj", "up_proj"), kind, given)
    for path, linear in projections(model).items():
        if type(linear) is nn.Linear and not path.endswith(_USED_BY_HAND):
            part = given.get(f"{path}.weight", linear.weight), linear.bias
            replace(model, path, _layer([part], kind))
    for name, parameter in list(model.named_parameters()):
        if name != "embed_tokens.weight" and not parameter.is_meta:
            parameter.data = parameter.float()
    model.packed_parameters = count
    model.packed_head = HalfLinear(head) if kind == "bfloat16" else ByteLinear(head)
    table = _matrix(model.embed_tokens.weight, given, "embed_tokens")
    model.embed_tokens.weight = nn.Parameter(table.bfloat16(), requires_grad=False)
    if not model.config.tie_word_embeddings:
        del model.lm_head
    return model.eval().requires_grad_(False)


def is_packed(model: DecoderLM) -> bool:
    """Whether a decoder is packed for inference only."""
    return model.packed_head is not None


def _matrix(weight: Tensor, given: Mapping[str, Blocks], path: str) -> Tensor:
    found = given.get(f"{path}.weight")
    return weight if found is None else found.dense()


def _joined(
    holder: nn.Module, path: str, names: Sequence[str], kind: Packing, given: Mapping[str, Blocks]
) -> Product | None:
    """One layer that replaces several with the same input; None if they must stay separate (adapters, for example)."""
    layers = [getattr(holder, name) for name in names]
    if not all(type(layer) is nn.Linear for layer in layers):
        return None
    named = zip(names, layers, strict=True)
    parts = [(given.get(f"{path}.{name}.weight", layer.weight), layer.bias) for name, layer in named]
    for name in names:
        delattr(holder, name)
    return _layer(parts, kind)


def _layer(parts: Sequence[Part], kind: Packing) -> Product:
    """All parts concatenated to one layer, in the requested number of bits if possible."""
    weights = [weight for weight, _ in parts]
    rows = sum(weight.shape[0] for weight in weights)
    biases = [bias for _, bias in parts if bias is not None]
    bias = torch.cat(biases) if biases else None
    columns = weights[0].shape[1]
    if kind == "int4" and packs(rows, columns):
        return PackedLinear(Blocks.joined([w if isinstance(w, Blocks) else Blocks.of(w) for w in weights]), bias)
    dense = torch.cat([weight.dense() if isinstance(weight, Blocks) else weight for weight in weights])
    make: Callable[[Tensor, Tensor | None], Product] = HalfLinear if kind == "bfloat16" else ByteLinear
    return make(dense, bias)
