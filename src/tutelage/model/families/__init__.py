"""Published families: one small file each, and one line of registration here."""

from __future__ import annotations

import math
from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import (
    custom,
    deepseek_v3,
    gemma,
    gemma2,
    gemma3,
    gpt2,
    gpt_neox,
    gpt_oss,
    granite,
    llama,
    mistral,
    mixtral,
    olmo2,
    olmo3,
    phi3,
    qwen2,
    qwen3,
    qwen3_moe,
    qwen3_next,
    smollm3,
)
from tutelage.model.families.family import Family
from tutelage.store.config import Config
from tutelage.store.errors import InputError, nearest

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (
        gpt2, gpt_neox, llama, mistral, mixtral, smollm3, qwen2, qwen3, qwen3_moe, qwen3_next, gemma, gemma2, gemma3,
        olmo2, olmo3, phi3, granite, gpt_oss, deepseek_v3, custom,
    )
}  # fmt: skip

# What a family's config.json does not say, or what other fields decide.
_NOT_COMPARED = {"family", "num_labels", "labels", "bos_token_id", "eos_token_id", "pad_token_id"}


def parts_of(name: Any) -> dict[str, Any]:
    """The parts that make a family, as plain fields. Raises ValueError naming the nearest for an unknown one."""
    if name not in FAMILIES:
        hint = nearest(str(name), FAMILIES)
        raise ValueError(f"family {name!r} is not known; {hint or 'known: ' + ', '.join(FAMILIES)}")
    return dict(FAMILIES[name].parts)


def check_expressible(config: ModelConfig) -> None:
    """Raise ValueError if the config's family cannot say what the config says: found before any training."""
    family = FAMILIES[config.family]
    if family.model_type == custom.FAMILY.model_type:
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
    """Fields by which two configs compute something else; how each was initialised and what ends a text are none."""
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
        # Latent attention has head sizes of its own.
        return 0 if config.latent else value or config.hidden_size // config.num_heads
    if key == "num_kv_heads" and config.latent:
        return config.num_heads
    if key == "experts" and value is not None:
        dense = tuple(layer for layer in range(config.num_layers) if not config.has_experts(layer))
        size = value.intermediate_size or config.intermediate_size
        if value is not config.experts:
            other = config.model_copy(update={"experts": value})
            dense = tuple(layer for layer in range(config.num_layers) if not other.has_experts(layer))
        return {**value.plain(), "dense_layers": dense, "first_dense": 0, "every": 1, "intermediate_size": size}
    return value


def _shown(value: Any) -> str:
    return repr(value.plain() if hasattr(value, "plain") else value)
