"""Conversions shared by most config.json files: sizes, RoPE, layer types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tutelage.model.config import LayerType, ModelConfig, RopeScaling
from tutelage.store.errors import InputError

_TO_HF: dict[LayerType, str] = {"full": "full_attention", "sliding": "sliding_attention", "delta": "linear_attention"}
_FROM_HF = {theirs: ours for ours, theirs in _TO_HF.items()}
_ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu": "gelu", "gelu_new": "gelu_tanh", "relu2": "relu2",
                "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}  # fmt: skip


def sizes_to_config(config: ModelConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "max_position_embeddings": config.max_position_embeddings,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": config.tie_word_embeddings,
        "attention_dropout": 0.0,
        "use_cache": True,
    }


def sizes_from_config(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "vocab_size": data["vocab_size"],
        "hidden_size": data["hidden_size"],
        "intermediate_size": data["intermediate_size"],
        "num_layers": data["num_hidden_layers"],
        "num_heads": data["num_attention_heads"],
        "num_kv_heads": data.get("num_key_value_heads") or data["num_attention_heads"],
        "max_position_embeddings": data["max_position_embeddings"],
        "initializer_range": data.get("initializer_range", 0.02),
    }


def head_dim_from_config(data: dict[str, Any]) -> int:
    """`head_dim`; 0 if it equals hidden_size / num_heads."""
    given = data.get("head_dim") or 0
    heads, hidden = data["num_attention_heads"], data["hidden_size"]
    return 0 if given * heads == hidden else given


def activation_from_config(data: dict[str, Any], key: str = "hidden_act", default: str = "silu") -> str:
    name = data.get(key) or default
    if name not in _ACTIVATIONS:
        raise InputError(f"{key}={name!r} is not supported", hint=f"known: {', '.join(sorted(_ACTIVATIONS))}")
    return _ACTIVATIONS[name]


def refuse(data: dict[str, Any], **wanted: Any) -> None:
    """Raise InputError for a key with an unsupported value that would change the computation."""
    for key, value in wanted.items():
        if key in data and data[key] is not None and data[key] != value:
            raise InputError(f"{key}={data[key]!r} is not supported (only {value!r})")


def shortest_pattern(values: Sequence[Any]) -> tuple[Any, ...]:
    """The shortest tuple whose repetition begins with `values`."""
    for length in range(1, len(values) + 1):
        if all(value == values[index % length] for index, value in enumerate(values)):
            return tuple(values[:length])
    return tuple(values)


def layer_types_to_config(config: ModelConfig) -> list[str]:
    return [_TO_HF[config.layer_type(layer)] for layer in range(config.num_layers)]


def layer_types_from_config(names: Sequence[str]) -> tuple[LayerType, ...]:
    unknown = sorted(set(names) - set(_FROM_HF))
    if unknown:
        raise InputError(f"layers of type {unknown[0]!r} are not supported", hint=f"known: {', '.join(_FROM_HF)}")
    return shortest_pattern([_FROM_HF[name] for name in names])


def rope_to_config(config: ModelConfig) -> dict[str, Any]:
    """RoPE settings in the format of transformers 5, and in that of earlier versions."""
    scaling = _scaling_to_config(config.rope_scaling) if config.rope_scaling else {}
    fraction = {} if config.rope_fraction == 1 else {"partial_rotary_factor": config.rope_fraction}
    parameters = {"rope_type": "default", "rope_theta": config.rope_theta, **scaling, **fraction}
    old = {"rope_scaling": {**scaling, **fraction}} if scaling else {}
    return {"rope_theta": config.rope_theta, "rope_parameters": parameters, **fraction, **old}


def rope_from_config(data: dict[str, Any], theta: float = 10000.0, fraction: float = 1.0) -> dict[str, Any]:
    """Fields of `ModelConfig` from `rope_parameters`, or from `rope_theta` and `rope_scaling` of older files."""
    parameters = {**(data.get("rope_scaling") or {}), **(data.get("rope_parameters") or {})}
    return {
        "rope_theta": float(parameters.get("rope_theta") or data.get("rope_theta") or theta),
        "rope_fraction": float(
            parameters.get("partial_rotary_factor") or data.get("partial_rotary_factor") or fraction
        ),
        "rope_scaling": scaling_from_config(parameters, data),
    }


def rope_by_kind_to_config(config: ModelConfig) -> dict[str, Any]:
    """RoPE settings by layer type, for full and sliding layers (Gemma 3, OLMo 3)."""
    full = rope_to_config(config)["rope_parameters"]
    sliding = {"rope_type": "default", "rope_theta": config.rope_local_theta}
    return {"rope_parameters": {"full_attention": full, "sliding_attention": sliding}}


def rope_by_kind_from_config(data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """RoPE parameters of full and of sliding layers; a single set, as in older files, is that of full layers."""
    nested = data.get("rope_parameters") or {}
    if "full_attention" in nested:
        return nested["full_attention"] or {}, nested.get("sliding_attention") or {}
    return nested, {}


def scaling_from_config(parameters: dict[str, Any], data: dict[str, Any]) -> RopeScaling | None:
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    if kind == "default":
        return None
    kind = {"su": "longrope"}.get(kind, kind)
    if kind == "dynamic":
        raise InputError(
            "rope scaling 'dynamic' is not supported: it depends on the length of the text, which rules out a KV cache"
        )
    if kind not in ("linear", "llama3", "yarn", "longrope"):
        raise InputError(f"rope scaling {kind!r} is not supported", hint="known: linear, llama3, yarn, longrope")
    length = int(
        data.get("original_max_position_embeddings")
        or parameters.get("original_max_position_embeddings")
        or data["max_position_embeddings"]
    )
    factor = parameters.get("factor") or data["max_position_embeddings"] / length
    fields: dict[str, Any] = {"kind": kind, "factor": float(factor)}
    if kind == "llama3":
        fields |= {"low_frequency": parameters["low_freq_factor"], "high_frequency": parameters["high_freq_factor"]}
    if kind == "yarn":
        fields |= {
            "beta_fast": parameters.get("beta_fast") or 32.0,
            "beta_slow": parameters.get("beta_slow") or 1.0,
            "truncate": parameters.get("truncate", True),
            "mscale": parameters.get("mscale") or 0.0,
            "mscale_all_dim": parameters.get("mscale_all_dim") or 0.0,
        }
    if kind == "longrope":
        fields |= {"short_factors": parameters["short_factor"], "long_factors": parameters["long_factor"]}
    if kind in ("yarn", "longrope"):
        fields["attention_factor"] = parameters.get("attention_factor")
    if kind != "linear":
        fields["original_length"] = length
    return RopeScaling.parse(fields)


def _scaling_to_config(scaling: RopeScaling) -> dict[str, Any]:
    if scaling.kind == "ntk":
        raise InputError("rope scaling 'ntk' has no equivalent in the Hugging Face layout", hint="use family: custom")
    data: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.original_length:
        data["original_max_position_embeddings"] = scaling.original_length
    if scaling.kind == "llama3":
        data |= {"low_freq_factor": scaling.low_frequency, "high_freq_factor": scaling.high_frequency}
    if scaling.kind == "yarn":
        data |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow, "truncate": scaling.truncate}
        if scaling.mscale:
            data["mscale"] = scaling.mscale
        if scaling.mscale_all_dim:
            data["mscale_all_dim"] = scaling.mscale_all_dim
    if scaling.kind == "longrope":
        data |= {"short_factor": list(scaling.short_factors), "long_factor": list(scaling.long_factors)}
    if scaling.attention_factor is not None:
        data["attention_factor"] = scaling.attention_factor
    return data
