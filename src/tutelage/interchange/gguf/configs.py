"""A Hugging Face config as GGUF metadata; settings that llama.cpp would compute differently are rejected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.interchange.gguf.models import LOCAL_THETA, PERIOD, attention_scalar, layer_types_of
from tutelage.interchange.gguf.rope import scaling_to_gguf
from tutelage.interchange.gguf.weights import ARCHITECTURES, GEMMAS
from tutelage.store.errors import InputError


def config_to_gguf(config: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """(architecture, metadata, config with all defaults filled in) of a Hugging Face config.

    Raises InputError for a config that llama.cpp cannot run.
    """
    kind = config.get("model_type")
    architecture = "gemma3" if kind == "gemma3_text" else kind
    if kind == "mistral" and not config.get("sliding_window"):
        architecture = "llama"
    if architecture not in ARCHITECTURES or kind == "gemma3":
        raise InputError(f"model type {kind!r} cannot be written as GGUF", hint="possible: " + ", ".join(ARCHITECTURES))
    assert isinstance(architecture, str)
    full = _completed(architecture, config)
    context, head_dim = int(full["max_position_embeddings"]), int(full["head_dim"])
    rope = rope_of(full)
    if rope.get("partial_rotary_factor", 1.0) != 1.0 or full.get("use_sliding_window"):
        raise InputError(f"a {kind} with partial RoPE or sliding windows cannot be written as GGUF")
    theta = float(rope.get("rope_theta", 10000.0))
    metadata: dict[str, Any] = {
        "vocab_size": full["vocab_size"],
        "context_length": context,
        "embedding_length": full["hidden_size"],
        "block_count": full["num_hidden_layers"],
        "feed_forward_length": full["intermediate_size"],
        "attention.head_count": full["num_attention_heads"],
        "attention.head_count_kv": full["num_key_value_heads"],
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "attention.layer_norm_rms_epsilon": float(full["rms_norm_eps"]),
        "rope.dimension_count": head_dim,
        "rope.freq_base": theta,
    }
    metadata |= scaling_to_gguf(rope, "rope.scaling", context)
    if architecture in ("gemma2", "gemma3"):
        metadata |= _gemma_to_gguf(architecture, full)
    return architecture, {f"{architecture}.{key}": value for key, value in metadata.items()}, full


def rope_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_parameters` of the full-attention layers, from the old or the new format."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope = dict(rope.get("full_attention", rope))
    rope.setdefault("rope_theta", config.get("rope_theta") or 10000.0)
    return rope


def _completed(architecture: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with defaults filled in. Raises InputError for values that llama.cpp would silently ignore."""
    gemma = architecture in GEMMAS
    full = dict(config)
    for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
        if key not in full:
            raise InputError(f"the model's config lacks {key}")
    if full.get("num_key_value_heads") is None:
        full["num_key_value_heads"] = full["num_attention_heads"]
    if full.get("head_dim") is None:
        full["head_dim"] = full["hidden_size"] // full["num_attention_heads"]
    if architecture == "qwen2" and full["head_dim"] * full["num_attention_heads"] != full["hidden_size"]:
        raise InputError("a qwen2 whose heads do not add up to hidden_size cannot be written as GGUF")
    full.setdefault("rms_norm_eps", 1e-6)
    full.setdefault("max_position_embeddings", 8192 if gemma else 2048)
    full.setdefault("tie_word_embeddings", gemma)
    # Published Gemma configs have "gelu" in hidden_act, but hidden_activation is the one that applies.
    key, wanted = ("hidden_activation", "gelu_pytorch_tanh") if gemma else ("hidden_act", "silu")
    if full.get(key) not in (None, wanted):
        raise InputError(f"{key}={full[key]!r} cannot be written as GGUF: llama.cpp computes {wanted!r}")
    if "SequenceClassification" in str(full.get("architectures")):
        raise InputError("a classifier cannot be written as GGUF: only language models")
    return full


def _gemma_to_gguf(architecture: str, full: dict[str, Any]) -> dict[str, Any]:
    layers = full["num_hidden_layers"]
    scalar = attention_scalar(architecture, full)
    if full.get("query_pre_attn_scalar", scalar) != scalar:
        raise InputError(
            f"query_pre_attn_scalar={full['query_pre_attn_scalar']} cannot be written as GGUF: llama.cpp uses {scalar}"
        )
    written: dict[str, Any] = {}
    for key in ("attn", "final"):
        if (cap := full.get(f"{key}_logit_softcapping")) is not None:
            written[f"{key}_logit_softcapping"] = float(cap)
        elif architecture == "gemma2":
            raise InputError(f"a gemma2 without {key}_logit_softcapping cannot be written as GGUF")
    if architecture == "gemma3" and written:
        raise InputError(f"a gemma3 with {next(iter(written))} cannot be written as GGUF: llama.cpp ignores it")
    default = PERIOD[architecture]
    types = full.get("layer_types") or layer_types_of(layers, full.get("sliding_window_pattern") or default)
    # Several periods may fit a short model; the default one needs no metadata.
    fitting = [period for period in (default, *range(2, layers + 2)) if layer_types_of(layers, period) == list(types)]
    if not fitting:
        raise InputError("layer_types have no regular pattern: llama.cpp cannot run them")
    written["attention.sliding_window"] = int(full.get("sliding_window") or 4096)
    if fitting[0] != default:
        written["attention.sliding_window_pattern"] = fitting[0]
    if architecture == "gemma3":
        local = dict((full.get("rope_parameters") or {}).get("sliding_attention") or {})
        theta = float(local.get("rope_theta") or full.get("rope_local_base_freq") or LOCAL_THETA)
        if theta != LOCAL_THETA:
            written["rope.freq_base_swa"] = theta
    return written
