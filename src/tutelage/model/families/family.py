"""The definition of a model family."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families.weights import Weight


@dataclass(frozen=True)
class Family:
    """The parts of a published family, and its Hugging Face layout.

    parts: fields of `ModelConfig` in which it differs from the plain decoder (a config may override those that vary
    within the family). to_config and from_config: keys of its config.json from a `ModelConfig`, and fields of a
    `ModelConfig` from them (InputError for unsupported values). weights: the mapping of every weight. notes: options
    and peculiarities, for the table in docs/architecture.md. ignored: patterns of names in checkpoints that have no
    counterpart in `DecoderLM`.
    """

    name: str
    published: str  # well-known models
    architecture: str  # the transformers class prefix, e.g. "Qwen3"
    model_type: str
    parts: dict[str, Any]
    to_config: Callable[[ModelConfig], dict[str, Any]]
    from_config: Callable[[dict[str, Any]], dict[str, Any]]
    weights: Callable[[ModelConfig], Iterable[Weight]]
    head: str = "ForCausalLM"  # suffix of the class name of the language model
    base_prefix: str = "model."  # absent in checkpoints of the model without a head
    notes: str = ""
    ignored: tuple[str, ...] = (r"rotary_emb\.inv_freq$",)
