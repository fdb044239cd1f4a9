"""Published families: one small file each, and one line of registration here.

A family maps `ModelConfig` to the Hugging Face config of that family and back, and its weight names both ways.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import llama, qwen3


@dataclass(frozen=True)
class FamilyMap:
    """How one family is written in the Hugging Face layout."""

    architecture: str  # the transformers class prefix, e.g. "Qwen3"
    model_type: str
    to_config: Callable[[ModelConfig], dict[str, Any]]
    from_config: Callable[[dict[str, Any]], dict[str, Any]]
    names: tuple[tuple[str, str], ...]  # (our part of a weight name, theirs)


FAMILIES: dict[str, FamilyMap] = {
    "qwen3": FamilyMap("Qwen3", "qwen3", qwen3.to_config, qwen3.from_config, qwen3.NAMES),
    "llama": FamilyMap("Llama", "llama", llama.to_config, llama.from_config, llama.NAMES),
}
