"""Complete a config with the parts of its family, and check that the family can express it."""

from __future__ import annotations

import math
from typing import Any, Self

from pydantic import model_validator

from tutelage.model.config import CLASSES, ModelConfig
from tutelage.model.families.registry import FAMILIES
from tutelage.store.config import Config
from tutelage.store.errors import InputError, nearest

# Fields that a family's config.json does not contain, or that follow from others.
_NOT_COMPARED = CLASSES | {"family", "bos_token_id", "eos_token_id", "pad_token_id"}


class FamilyConfig(ModelConfig):
    """A `ModelConfig` completed by its family and expressible in it.

    `family` sets the parts; other keys may override them as far as the family can express them.
    """

    family: str = "qwen3"

    @model_validator(mode="before")
    @classmethod
    def _parts_of_family(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        parts = parts_of(given.get("family", cls.model_fields["family"].default))
        for key, value in given.items():
            part = parts.get(key)
            parts[key] = {**part.plain(), **value} if isinstance(part, Config) and isinstance(value, dict) else value
        return parts

    @model_validator(mode="after")
    def _expressible(self) -> Self:
        check_expressible(self)
        return self

    def completed(self, given: dict[str, Any]) -> dict[str, Any]:
        """The fields after an update; a change of family replaces the parts and keeps only the sizes."""
        kept, family = self.plain(), given.get("family", self.family)
        if family != self.family:
            parts = {*parts_of(self.family), *(FAMILIES[family].parts if family in FAMILIES else ())}
            kept = {key: value for key, value in kept.items() if key not in parts}
        return {**kept, **given}


def parts_of(name: Any) -> dict[str, Any]:
    """The parts of a family, as fields. Raises ValueError naming the nearest match for an unknown family."""
    if name not in FAMILIES:
        hint = nearest(str(name), FAMILIES)
        raise ValueError(f"family {name!r} is not known; {hint or 'known: ' + ', '.join(FAMILIES)}")
    return dict(FAMILIES[name].parts)


def check_expressible(config: ModelConfig) -> None:
    """Raise ValueError if the config's family cannot express the config, so that saving never fails after training."""
    if config.family not in FAMILIES:
        raise ValueError(f"family {config.family!r} is not known; {nearest(config.family, FAMILIES)}")
    family = FAMILIES[config.family]
    if family.name == "custom":
        return
    try:
        understood = family.from_config(family.to_config(config))
    except InputError as error:
        raise ValueError(f"family {config.family}: {error.message}") from None
    defaults = {name: field.default for name, field in ModelConfig.model_fields.items()}
    expected = {**defaults, **family.parts, **understood}
    for key in sorted(set(expected) - _NOT_COMPARED):
        ours, theirs = _comparable(config, key, getattr(config, key)), _comparable(config, key, expected[key])
        if ours != theirs and not (
            isinstance(ours, float) and isinstance(theirs, float) and math.isclose(ours, theirs)
        ):
            raise ValueError(
                f"family {config.family!r} cannot have {key}={_shown(ours)} (it has {_shown(theirs)}); "
                "use family: custom to combine parts freely"
            )


def differing(one: ModelConfig, other: ModelConfig) -> list[str]:
    """Fields in which the computations of two configs differ; initialisation and special token ids are ignored."""
    own = _NOT_COMPARED - {"family", "num_labels"} | {"initializer_range"}
    return [
        key
        for key in ModelConfig.model_fields
        if key not in own
        and not _same(_comparable(one, key, getattr(one, key)), _comparable(other, key, getattr(other, key)))
    ]


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, Config) and isinstance(theirs, Config):
        ours, theirs = ours.plain(), theirs.plain()
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-5)
    return bool(ours == theirs)


def _comparable(config: ModelConfig, key: str, value: Any) -> Any:
    if key in ("layer_types", "rope_layers"):
        return tuple(value[layer % len(value)] for layer in range(config.num_layers))
    if key == "sliding_window":
        return value if "sliding" in config.layer_types else None
    if key == "embedding_multiplier":
        return config.hidden_size**0.5 if value == "sqrt" else value
    if key == "head_dim":
        # Latent attention has separate head sizes.
        return 0 if config.latent else value or config.hidden_size // config.num_heads
    if key == "num_kv_heads" and config.latent:
        return config.num_heads
    if key == "experts" and value is not None:
        dense = tuple(layer for layer in range(config.num_layers) if not value.in_layer(layer))
        size = value.intermediate_size or config.intermediate_size
        return {**value.plain(), "dense_layers": dense, "first_dense": 0, "every": 1, "intermediate_size": size}
    return value


def _shown(value: Any) -> str:
    return repr(value.plain() if hasattr(value, "plain") else value)
