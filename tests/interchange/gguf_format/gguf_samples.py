"""GGUF bytes put together by hand, and tiny models and tokenizers to write."""

from __future__ import annotations

import json
import struct
from functools import cache
from typing import Any

import torch
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Library

from tutelage.interchange.gguf.weights import plan
from tutelage.store.events import EventLog
from tutelage.tokenizer.config import TokenizerConfig
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.train import train


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str | bytes, code: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", code) + value


def array(code: int, count: int, items: bytes) -> bytes:
    return struct.pack("<IQ", code, count) + items


def describe(name: str, dims: tuple[int, ...], code: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, code, offset)


def gguf(
    entries: list[bytes],
    tensors: list[bytes] = (),  # type: ignore[assignment]
    data: bytes = b"",
    version: int = 3,
    n_entries: int | None = None,
    n_tensors: int | None = None,
    alignment: int = 32,
) -> bytes:
    head = b"GGUF" + struct.pack(
        "<IQQ",
        version,
        len(tensors) if n_tensors is None else n_tensors,
        len(entries) if n_entries is None else n_entries,
    )
    head += b"".join(entries) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data


SENTENCES = [f"Return the list of all files in directory {n}, naïve café 学習.\n" for n in range(120)]


@cache
def bpe_tokenizer(split: str = "qwen2", size: int = 330) -> Tokenizer:
    config = TokenizerConfig(method="bpe", vocab_size=size, split=split)  # type: ignore[arg-type]
    return train(config, SENTENCES, EventLog(None))


ROPE = {"rope_type": "default", "rope_theta": 10000.0}
SMALL: dict[str, Any] = {
    "vocab_size": 336,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_parameters": ROPE,
    "tie_word_embeddings": True,
}
LLAMA = {**SMALL, "model_type": "llama", "hidden_act": "silu", "tie_word_embeddings": False}
GEMMA = {**SMALL, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 16, "sliding_window": 8}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "llama-biases": {**LLAMA, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "llama-linear": {**LLAMA, "rope_parameters": {**ROPE, "rope_type": "linear", "factor": 4.0}},
    "llama-yarn": {
        **LLAMA,
        "rope_parameters": {**ROPE, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    },
    "llama3": {
        **LLAMA,
        "head_dim": 64,
        "rope_parameters": {
            "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        },
    },
    "qwen2": {**SMALL, "model_type": "qwen2", "hidden_act": "silu", "head_dim": 8},
    "qwen3": {**SMALL, "model_type": "qwen3", "hidden_act": "silu", "tie_word_embeddings": False},
    "gemma": {**SMALL, "model_type": "gemma", "hidden_activation": "gelu_pytorch_tanh"},
    "gemma2": {**GEMMA, "model_type": "gemma2", "attn_logit_softcapping": 20.0, "final_logit_softcapping": 15.0},
    "gemma3": {
        **GEMMA,
        "model_type": "gemma3_text",
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 5000.0},
        },
    },
}  # fmt: skip


def architecture(config: dict[str, Any]) -> str:
    return "gemma3" if config["model_type"] == "gemma3_text" else str(config["model_type"])


def random_weights(config: dict[str, Any], seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        weight.hf: torch.randn(weight.shape, generator=generator) * 0.3 for weight in plan(architecture(config), config)
    }


@cache
def sentencepiece_tokenizer(prefix: bool = True) -> Tokenizer:
    """A small tokenizer built as Llama 2's and Gemma's are: spaces marked, unknown characters as bytes."""
    learner = Library(models.BPE())
    learner.normalizer = normalizers.Replace(" ", "▁")
    # The library's trainer would join over spaces; SentencePiece never does.
    learner.pre_tokenizer = pre_tokenizers.Split(Regex("▁[^▁]*"), "isolated")
    learner.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=120, show_progress=False))
    learned = json.loads(learner.to_str())["model"]
    control = ["<unk>", "<s>", "</s>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    vocabulary = {piece: index for index, piece in enumerate([*control, *bytes_, *pieces])}
    first = [normalizers.Prepend("▁")] if prefix else []
    made = Library(
        models.BPE(
            vocabulary,
            [tuple(merge) for merge in learned["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    made.normalizer = normalizers.Sequence([*first, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    return Tokenizer(made.to_str(), settings)
