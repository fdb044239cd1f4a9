"""Forecast the time to import an external model, and its size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.interchange.config import AdoptConfig
from tutelage.store.errors import TutelageError
from tutelage.store.stage import Facts, Forecast, Machine

FETCH_BYTES_PER_SECOND = 2e6  # of a slow connection
BYTES_PER_TOKEN = 4.2  # of English text with a vocabulary of about 50,000


def forecast(config: AdoptConfig, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    """`seconds` is None for a model whose config is unknown before it is downloaded."""
    from tutelage.interchange.source import KNOWN, cache_directory, config_at_hand
    from tutelage.model.describe import parameters

    try:
        shape = config_at_hand(config.source)
    except TutelageError:  # reported when the model is imported
        shape = None
    if shape is None:
        return Forecast()
    if config.context_length:
        longest = min(config.context_length, shape.max_position_embeddings)
        shape = shape.with_(max_position_embeddings=longest)
    total = sum(parameters(shape).values())
    seconds = 1.0 + 3 * 4 * total / machine.bytes_per_second()
    fetch = 0.0
    if config.source in KNOWN and not Path(config.source).exists():
        known = KNOWN[config.source]
        if not (cache_directory() / known.sha256[:16] / Path(known.member).name).exists():
            fetch = known.size / FETCH_BYTES_PER_SECOND
    facts = {
        "model": shape, "parameters": total, "vocab_size": shape.vocab_size, "bytes_per_token": BYTES_PER_TOKEN,
        "lora": False,
    }  # fmt: skip
    memory = machine.process_memory() + 2.5 * 4 * total
    return Forecast(seconds + fetch / 4, seconds * 0.4, seconds * 2 + fetch, memory, facts)


def figures(metrics: Mapping[str, Any]) -> Facts:
    return {"parameters": metrics["parameters"], "bytes_per_token": BYTES_PER_TOKEN, "lora": False}
