"""Qwen3: Llama's block with queries and keys RMS-normalised per head."""

from __future__ import annotations

from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import llama
from tutelage.store.errors import InputError

NAMES = llama.NAMES


def to_config(config: ModelConfig) -> dict[str, Any]:
    """Keys of the Hugging Face config that describe the decoder."""
    return {**llama.to_config(config), "use_sliding_window": False, "sliding_window": None}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    """Fields of `ModelConfig` from a Hugging Face config. Raises InputError for what is not supported yet."""
    if data.get("use_sliding_window"):
        raise InputError("sliding-window attention is not supported yet")
    return llama.from_config(data)
