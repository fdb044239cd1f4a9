"""Time and memory of pretraining, from its number of tokens and a few real steps of the model on this machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.store.errors import TutelageError
from tutelage.store.stage import Facts, Forecast, Machine, Range

ENCODING_SECONDS = 0.16  # per MB of text, at a `slowness` of 1
OVERHEAD = 1.5  # s: loading, packing, saving
BESIDE_STEPS = 1.08  # factor for checkpoints, layer statistics and making batches
ENCODER_BYTES, ENCODED_AT_ONCE = 5e7, 16e6  # of the fast encoder's tables; of text per call
TEXT_TIMES = 3.0  # as strings, as bytes and as ids
ROWS_SHARE = 0.7  # of the text's bytes: memory-mapped ids, and document offsets
BESIDE_BYTES = 2e7  # validation, layer statistics, making batches
LESS, MORE = 0.6, 1.5  # error of the time
FORWARD_SHARE = 0.4  # time of validation per token, relative to a training step


def forecast(config: Any, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    """Forecast of a `Pretraining`; `seconds` is None if the corpus or the initial model is not known yet."""
    corpus = inputs.get("corpus", {})
    before = inputs.get("tokenizer") or inputs.get("model") or {}
    model = before.get("model") if config.model is None else completed(config.model, before)
    pretrain, training = config.pretrain, config.pretrain.training
    if model is None:
        return Forecast()
    facts: dict[str, Any] = sizes(model) | {
        "bytes_per_token": before.get("bytes_per_token", 4.0), "learning_rate": training.learning_rate, "lora": False,
    }  # fmt: skip
    if "train_bytes" not in corpus:
        return Forecast(facts=facts)
    train_tokens = corpus["train_bytes"] / facts["bytes_per_token"] + corpus["train_documents"]
    held = corpus["heldout_bytes"] / facts["bytes_per_token"] + corpus["heldout_documents"]
    step_tokens = training.batch_rows * pretrain.context_length
    steps = training.steps or max(1, round(training.epochs * train_tokens / step_tokens))
    facts |= {
        "train_tokens": train_tokens,
        "document_tokens": corpus["document_bytes"] / facts["bytes_per_token"],
        "context": pretrain.context_length,
        "step_tokens": step_tokens,
        "steps": steps,
        "tokens": steps * step_tokens,
    }
    rate = machine.training_seconds_per_token(model, pretrain.context_length, training)
    validations = (steps - 1) // training.validate_every if training.validate_every else 0
    limit = training.validation_rows * pretrain.context_length
    validated = held + (validations + training.use_best) * (min(held, limit) if limit else held)
    trained = rate * (steps * step_tokens * BESIDE_STEPS + FORWARD_SHARE * validated)
    fixed = OVERHEAD + ENCODING_SECONDS * machine.slowness() * corpus["bytes"] / 1e6
    encoding = ENCODER_BYTES + TEXT_TIMES * min(corpus["bytes"], ENCODED_AT_ONCE)  # freed before the first step
    steps_memory = machine.training_memory(model, pretrain.context_length, training) + BESIDE_BYTES
    memory = machine.process_memory() + ROWS_SHARE * corpus["bytes"] + max(encoding, steps_memory)
    found = Forecast.about(trained + fixed, LESS, MORE, memory, facts)
    return replace(found, expected=expected_figures(config, corpus, facts, rate))


def expected_figures(config: Any, corpus: Facts, facts: Facts, rate: float) -> dict[str, Range]:
    """Expected metrics of the run: its speed, and bits per byte if the reference runs apply."""
    expected: dict[str, Range] = {}
    if rate:
        expected["timing.tokens_per_second"] = (1 / (rate * MORE), 1 / rate, 1 / (rate * LESS))
    alone = config.model is not None and not (config.pretrain.mixture or config.pretrain.mix)
    if alone and "ppmd_bits" in corpus:
        from tutelage.pretraining.expected import by_the_defaults, expected_bits, least_bytes

        unique = corpus["train_bytes"]
        seen = unique * facts["tokens"] / facts["train_tokens"]
        if by_the_defaults(config.pretrain.training, facts["parameters"]) and seen >= least_bytes():
            blocks, vocabulary = facts["block_parameters"], facts["vocab_size"]
            bits = expected_bits(blocks, vocabulary, unique, seen, corpus["ppmd_bits"], corpus.get("text", ""))
            expected["heldout_bits_per_byte"] = (bits.low, bits.middle, bits.high)
    return expected


def completed(model: ModelConfig, tokenizer: Facts) -> ModelConfig | None:
    """The model with its tokenizer's vocabulary; None if that is not known yet."""
    vocabulary = model.vocab_size or tokenizer.get("vocab_size", 0)
    if not vocabulary:
        return None
    try:
        return model.with_(vocab_size=vocabulary)
    except TutelageError:
        return None


def sizes(model: ModelConfig) -> dict[str, Any]:
    from tutelage.model.describe import parameters

    parts = parameters(model)
    total = sum(parts.values())
    return {
        "model": model,
        "parameters": total,
        "vocab_size": model.vocab_size,
        "embedding_parameters": parts["embedding"],
        "head_parameters": parts["output_head"],
        "block_parameters": parts["attention"] + parts["mlp"] + parts["experts"],
    }


def figures(metrics: Mapping[str, Any]) -> Facts:
    steps = metrics["steps"]
    return {
        "parameters": metrics["parameters"],
        "train_tokens": metrics["train_tokens"],
        "tokens": metrics["tokens_seen"],
        "steps": steps,
        "step_tokens": math.ceil(metrics["tokens_seen"] / max(1, steps)),
    }
