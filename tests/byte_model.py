"""A tokenizer of bytes and a small random model on it."""

from __future__ import annotations

import json

from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.tokenizer.template import CHATML
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.vocabulary import byte_characters


def byte_tokenizer() -> Tokenizer:
    """ChatML control tokens 0 to 2, then the 256 bytes: no merges."""
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {char: byte + len(control) for byte, char in byte_characters().items()}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    definition = {
        "version": "1.0",
        "added_tokens": [{"id": index, "content": text, **flags} for index, text in enumerate(control)],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {**{text: index for index, text in enumerate(control)}, **vocabulary},
            "merges": [],
        },
    }
    return Tokenizer(json.dumps(definition), {"eos_token": control[0], "pad_token": control[0]}, CHATML)


def random_model(tokenizer: Tokenizer) -> DecoderLM:
    config = FamilyConfig.parse(
        {
            "vocab_size": tokenizer.vocab_size, "hidden_size": 32, "intermediate_size": 48, "num_layers": 2,
            "num_heads": 4, "num_kv_heads": 2, "max_position_embeddings": 96, "eos_token_id": (0,),
            # Large weights: logits far apart, so that greedy choices are not decided by rounding.
            "initializer_range": 0.5,
        }
    )  # fmt: skip
    return DecoderLM(config, seed=1)
