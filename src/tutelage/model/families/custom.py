"""Custom: any combination of parts, saved as is; other libraries cannot load it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tutelage.model.config import CLASSES, ModelConfig
from tutelage.model.families.family import Family
from tutelage.model.families.weights import Weight, renamed

_NOT_SHAPE = CLASSES | {"family", "bos_token_id", "eos_token_id", "pad_token_id"}


def to_config(config: ModelConfig) -> dict[str, Any]:
    return {key: value for key, value in config.plain().items() if key not in _NOT_SHAPE}


def from_config(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key in ModelConfig.model_fields and key not in _NOT_SHAPE}


def weights(config: ModelConfig) -> Iterable[Weight]:
    return renamed(config, ())


FAMILY = Family(
    name="custom",
    published="your own",
    architecture="Tutelage",
    model_type="tutelage",
    parts={},
    to_config=to_config,
    from_config=from_config,
    weights=weights,
)
