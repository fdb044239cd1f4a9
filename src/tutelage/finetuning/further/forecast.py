"""Time and memory of continued pretraining, and of the sampling before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.finetuning.forecast import training_forecast
from tutelage.store.stage import Facts, Forecast, Machine

QUESTION_TOKENS, ANSWER_TOKENS = 30.0, 90.0  # of a sampled conversation
ENDED = 0.7  # share of sampled questions that end with the end token
SET_BYTES = 60_000.0  # of general text to evaluate, by default


def forecast(config: Any, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    """`seconds` is None until the corpus is known."""
    corpus = inputs.get("texts", inputs.get("corpus", {}))
    if "train_bytes" not in corpus:
        return Forecast()
    per_token = inputs.get("model", {}).get("bytes_per_token", 4.0)
    documents = corpus["train_documents"]
    row_tokens = corpus["train_bytes"] / max(1, documents) / per_token / (1 - config.replay.share)
    held = min(config.max_heldout, corpus["heldout_documents"])
    made = training_forecast(config, inputs, machine, documents, row_tokens, 1.0, held)
    sets = held * corpus["document_bytes"] / per_token + config.sampled.heldout_tokens
    sets += SET_BYTES / per_token if config.general or config.replay.source else 0
    facts = {**made.facts, "tokens": documents * row_tokens, "text_tokens": sets, "asked": config.sampled.questions}
    return Forecast(made.seconds, made.low, made.high, made.memory, facts)


def figures(metrics: Mapping[str, Any]) -> Facts:
    return {
        "rows": metrics["documents"],
        "heldout_rows": metrics["heldout_documents"],
        "tokens": metrics["new_tokens"] + metrics["replayed_tokens"],
    }


def forecast_sampled(config: Any, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    model = inputs.get("model", {})
    if "model" not in model:
        return Forecast()
    tokens = config.tokens + config.heldout_tokens + ANSWER_TOKENS * config.chats
    tokens += QUESTION_TOKENS * (config.chats + config.questions) / ENDED
    memory = machine.process_memory() + 4.0 * model["parameters"] + 5e8
    seconds = tokens * machine.decoding_seconds_per_token(model["model"])
    return Forecast.about(seconds, 0.4, 2.0, memory)
