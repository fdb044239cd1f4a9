"""Forecast of a tokenizer's training time and of its bytes per token."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tutelage.store.stage import Facts, Forecast, Machine
from tutelage.tokenizer.config import TokenizerConfig, bytes_per_token

# Seconds for each MB that is trained on, at a `slowness` of 1.
TRAIN_SECONDS = {"bpe": 0.2, "unigram": 1.5}
MEASURE_SECONDS = 0.17  # for each MB: encoding and decoding
# Bytes for the root of each MB: new words, and with them tables and lattices, come ever more seldom in longer texts.
MEMORY = {"bpe": 7.9e7, "unigram": 1.0e8}
SPECIAL_TOKENS = 64  # a vocabulary is rounded up to a multiple of it


def forecast(config: TokenizerConfig, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    corpus = inputs.get("corpus", {})
    size = expected_size(config, corpus.get("train_bytes", math.inf))
    own = config.splits and not config.source
    facts = {
        "vocab_size": -(-size // SPECIAL_TOKENS) * SPECIAL_TOKENS if own else size,
        "bytes_per_token": bytes_per_token(size) if config.splits else 1.0,
    }
    if "train_bytes" not in corpus:
        return Forecast(facts=facts)
    sample = min(corpus["train_bytes"] / 1e6, config.sample_megabytes)
    held = min(corpus["heldout_bytes"] / 1e6, config.sample_megabytes)
    training = 0.0 if config.source else TRAIN_SECONDS.get(config.method, 0.05) * sample
    seconds = 0.3 + training + MEASURE_SECONDS * held
    memory = machine.process_memory() + MEMORY.get(config.method, MEMORY["bpe"]) * math.sqrt(sample)
    return Forecast.about(seconds * machine.slowness(), 0.5, 2.0, memory, facts)


def expected_size(config: TokenizerConfig, text_bytes: float = math.inf) -> int:
    """Size of the vocabulary: that of `source`, or the one chosen for a training text of `text_bytes`.

    Raises InputError if `source` is not a vocabulary.
    """
    if not config.source:
        return config.sized(text_bytes).vocab_size
    from tutelage.tokenizer.imported import import_vocabulary  # late: a forecast is light to import

    return import_vocabulary(config).vocab_size


def figures(metrics: Mapping[str, Any]) -> Facts:
    return {"vocab_size": metrics["vocab_size"], "bytes_per_token": metrics["bytes_per_token"]}
