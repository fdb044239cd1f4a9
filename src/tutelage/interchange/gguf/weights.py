"""The weights of a model: names and shapes in Hugging Face and GGUF, and the conversion between them.

Both directions follow `plan`: reading checks the file against it, writing arranges the file by it. All shapes come from
the Hugging Face config.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tutelage.store.errors import InputError

if TYPE_CHECKING:
    import torch

GEMMAS = ("gemma", "gemma2", "gemma3")
ARCHITECTURES = ("llama", "qwen2", "qwen3", *GEMMAS)
"""Supported values of `general.architecture`."""

Change = Literal["none", "rope", "norm"]


@dataclass(frozen=True)
class Weight:
    """One weight: its two names, its shape, and the conversion.

    `rope`: llama.cpp rotates pairs of neighbouring rows of a head, Hugging Face pairs from its two halves, so rows are
    reordered within each of `heads`. `norm`: Gemma's norm weights are stored with 1 added.
    """

    hf: str
    gguf: str
    shape: tuple[int, ...]
    change: Change = "none"
    heads: int = 0


def plan(architecture: str, config: Mapping[str, Any]) -> list[Weight]:
    """All weights of a model with this Hugging Face config, in file order."""
    gemma = architecture in GEMMAS
    width, vocabulary = config["hidden_size"], config["vocab_size"]
    norm: Change = "norm" if gemma else "none"
    weights = [Weight("model.embed_tokens.weight", "token_embd.weight", (vocabulary, width))]
    if not config["tie_word_embeddings"]:
        if gemma:
            raise InputError(
                "llama.cpp supports Gemma with tied embeddings only", hint="tie_word_embeddings must be true"
            )
        weights.append(Weight("lm_head.weight", "output.weight", (vocabulary, width)))
    weights.append(Weight("model.norm.weight", "output_norm.weight", (width,), norm))
    for layer in range(config["num_hidden_layers"]):
        for part in _layer(architecture, config):
            hf, gguf = f"model.layers.{layer}.{part.hf}", f"blk.{layer}.{part.gguf}"
            weights.append(Weight(hf, gguf, part.shape, part.change, part.heads))
    return weights


def _layer(architecture: str, config: Mapping[str, Any]) -> Iterator[Weight]:
    """The weights of one layer, with names relative to the layer."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    heads, kv_heads, head_dim = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    rotated: Change = "rope" if architecture == "llama" else "none"
    output_bias = bool(config.get("attention_bias"))
    input_bias = output_bias or architecture == "qwen2"  # Qwen2 always has them, but none on the output
    sandwich = architecture in ("gemma2", "gemma3")

    def linear(
        hf: str, gguf: str, rows: int, columns: int, bias: bool, change: Change = "none", n: int = 0
    ) -> Iterator[Weight]:
        yield Weight(f"{hf}.weight", f"{gguf}.weight", (rows, columns), change, n)
        if bias:
            yield Weight(f"{hf}.bias", f"{gguf}.bias", (rows,), change, n)

    def norm(hf: str, gguf: str, size: int = width) -> Weight:
        return Weight(f"{hf}.weight", f"{gguf}.weight", (size,), "norm" if architecture in GEMMAS else "none")

    yield norm("input_layernorm", "attn_norm")
    yield from linear("self_attn.q_proj", "attn_q", heads * head_dim, width, input_bias, rotated, heads)
    yield from linear("self_attn.k_proj", "attn_k", kv_heads * head_dim, width, input_bias, rotated, kv_heads)
    yield from linear("self_attn.v_proj", "attn_v", kv_heads * head_dim, width, input_bias)
    yield from linear("self_attn.o_proj", "attn_output", width, heads * head_dim, output_bias)
    if architecture in ("qwen3", "gemma3"):
        yield norm("self_attn.q_norm", "attn_q_norm", head_dim)
        yield norm("self_attn.k_norm", "attn_k_norm", head_dim)
    if sandwich:
        yield norm("post_attention_layernorm", "post_attention_norm")
        yield norm("pre_feedforward_layernorm", "ffn_norm")
        yield norm("post_feedforward_layernorm", "post_ffw_norm")
    else:
        yield norm("post_attention_layernorm", "ffn_norm")
    bias = bool(config.get("mlp_bias"))
    yield from linear("mlp.gate_proj", "ffn_gate", inner, width, bias)
    yield from linear("mlp.up_proj", "ffn_up", inner, width, bias)
    yield from linear("mlp.down_proj", "ffn_down", width, inner, bias)


def to_hf(weight: Weight, tensor: torch.Tensor) -> torch.Tensor:
    """Convert a tensor of the file to Hugging Face's form."""
    if weight.change == "norm":
        return tensor - 1
    return _reordered(tensor, weight.heads, 2) if weight.change == "rope" else tensor


def to_gguf(weight: Weight, tensor: torch.Tensor) -> torch.Tensor:
    """The inverse of `to_hf`."""
    if weight.change == "norm":
        return tensor + 1
    return _reordered(tensor, weight.heads, tensor.shape[0] // weight.heads // 2) if weight.change == "rope" else tensor


def _reordered(tensor: torch.Tensor, heads: int, columns: int) -> torch.Tensor:
    """The rows of each head, as a table with `columns` columns, read column by column."""
    table = tensor.reshape(heads, -1, columns, *tensor.shape[1:])
    return table.transpose(1, 2).reshape(tensor.shape)
