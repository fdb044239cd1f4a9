"""Small vocabularies of every kind that models are published with, and random models on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

from tutelage.inference.language_model import LanguageModel
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.store.events import EventLog
from tutelage.tokenizer.config import TokenizerConfig
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.train import train

_TEXTS = [
    'The {"name": "größe", "tags": ["a b", "x"], "ok": true, "age": 12.5, "next": null} is yes or no, 2026-01-31.\n',
    '{"value": [1, 2, {"id": "3-4", "x": false}], "a b": "red"}\n',
] * 20

_SIZES = {"bpe": 420, "unigram": 320, "wordpiece": 320, "byte": 259}


@cache
def _trained(method: str) -> Tokenizer:
    config = TokenizerConfig.parse({"method": method, "vocab_size": _SIZES[method]})
    return train(config, _TEXTS, EventLog())


@cache
def _sentencepiece() -> Tokenizer:
    """As Llama 2's: pieces with "▁" for a space, one put before the text, and bytes for all that has no piece."""
    control = ["<unk>", "<s>", "</s>"]
    tokens = [*control, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *'abcdefnrtuls0123456789{}[]",:.-ü']
    merges = [("▁", '"'), ("{", '"'), ('"', ":"), ('"', ","), ("}", "}"), ("▁", "{"), ("t", "r"), ("u", "e"),
              ("tr", "ue"), ("▁", "true"), ("n", "u"), ("1", "2")]  # fmt: skip
    tokens += ["".join(pair) for pair in merges if "".join(pair) not in tokens]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    definition = {
        "version": "1.0",
        "added_tokens": [{"id": index, "content": text, **flags} for index, text in enumerate(control)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE", "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [list(pair) for pair in merges], "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
        },
    }  # fmt: skip
    return Tokenizer(json.dumps(definition), {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})


VOCABULARIES: dict[str, Callable[[], Tokenizer]] = {
    "bytes": lambda: _trained("byte"),
    "byte-level BPE": lambda: _trained("bpe"),
    "SentencePiece": _sentencepiece,
    "unigram": lambda: _trained("unigram"),
}
WORDPIECE: Callable[[], Tokenizer] = lambda: _trained("wordpiece")  # noqa: E731


def random_lm(tokenizer: Tokenizer, padding: int = 0, context: int = 2048) -> LanguageModel:
    """A model of a few thousand random weights; `padding`: more columns than the tokenizer has ids."""
    config = FamilyConfig.parse(
        {
            "vocab_size": tokenizer.vocab_size + padding, "hidden_size": 32, "intermediate_size": 48, "num_layers": 1,
            "num_heads": 4, "num_kv_heads": 2, "max_position_embeddings": context, "eos_token_id": (),
            "initializer_range": 0.2,
        }
    )  # fmt: skip
    return LanguageModel(DecoderLM(config, seed=1), tokenizer)
