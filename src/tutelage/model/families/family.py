"""What a family says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families.weights import Weight


@dataclass(frozen=True)
class Family:
    """How one published family is made of parts, and how it is written in the Hugging Face layout.

    parts: fields of `ModelConfig` in which it differs from the plain decoder (a config may give others where the
    family leaves the choice). to_config and from_config: the keys of its config.json from a `ModelConfig`, and fields
    of a `ModelConfig` from them (InputError for what is not supported). weights: where every weight goes.
    notes: what a checkpoint of it may choose or what is peculiar, for the table in docs/architecture.md.
    ignored: patterns of names that a checkpoint may hold and that no `DecoderLM` has.
    """

    name: str
    published: str  # models that people know
    architecture: str  # the transformers class prefix, e.g. "Qwen3"
    model_type: str
    parts: dict[str, Any]
    to_config: Callable[[ModelConfig], dict[str, Any]]
    from_config: Callable[[dict[str, Any]], dict[str, Any]]
    weights: Callable[[ModelConfig], Iterable[Weight]]
    head: str = "ForCausalLM"  # what that class's name of a language model ends in
    base_prefix: str = "model."  # checkpoints of the bare model lack it
    notes: str = ""
    ignored: tuple[str, ...] = (r"rotary_emb\.inv_freq$",)
