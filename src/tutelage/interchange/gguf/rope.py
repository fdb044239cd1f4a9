"""RoPE scaling: Hugging Face's `rope_parameters` and the GGUF equivalents.

Linear and YaRN scaling are metadata. Llama 3's scaling is stored as one divisor per frequency in `rope_freqs.weight`;
its parameters are recovered from the divisors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tutelage.store.errors import DamagedError, InputError

FACTORS = "rope_freqs.weight"
_LLAMA3 = (8192, 1.0, 4.0)  # original context, low and high frequency factor of every published Llama 3
_CLOSE = 1e-4


def scaling_to_hf(metadata: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The scaling part of `rope_parameters`. Raises InputError for unsupported scaling."""
    kind = metadata.get(f"{prefix}.type", "none")
    factor = _number(metadata, f"{prefix}.factor", 1.0)
    if kind == "none" or (kind == "linear" and factor == 1.0):
        return {"rope_type": "default"}
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind != "yarn":
        raise InputError(f"rope scaling {kind!r} is not supported", hint="supported: linear, yarn, llama3")
    if _number(metadata, f"{prefix}.attn_factor", 1.0) != 1.0:
        raise InputError(f"{prefix}.attn_factor other than 1 is not supported")
    found: dict[str, Any] = {"rope_type": "yarn", "factor": factor}
    if f"{prefix}.original_context_length" in metadata:
        original = _number(metadata, f"{prefix}.original_context_length", 1.0)
        found["original_max_position_embeddings"] = int(original)
    return found


def _number(metadata: Mapping[str, Any], key: str, default: float) -> float:
    value = metadata.get(key, default)
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise DamagedError(f"metadata {key} is {value!r}, not a positive number")
    return float(value)


def scaling_to_gguf(rope: Mapping[str, Any], prefix: str, context: int) -> dict[str, Any]:
    """Metadata for `rope_parameters`; empty for llama3, whose scaling is a tensor (`llama3_factors`)."""
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind in ("default", "llama3"):
        return {}
    if kind == "linear":
        return {f"{prefix}.type": "linear", f"{prefix}.factor": float(rope["factor"])}
    # llama.cpp always uses its own defaults for these.
    fixed = {"beta_fast": 32, "beta_slow": 1, "attention_factor": None, "mscale": None, "truncate": True}
    if kind == "yarn" and all(rope.get(key) in (None, value) for key, value in fixed.items()):
        return {
            f"{prefix}.type": "yarn",
            f"{prefix}.factor": float(rope["factor"]),
            f"{prefix}.original_context_length": int(rope.get("original_max_position_embeddings") or context),
        }
    raise InputError(f"rope scaling {dict(rope)} cannot be written as GGUF", hint="possible: linear, yarn, llama3")


def llama3_factors(rope: Mapping[str, Any], head_dim: int) -> list[float]:
    """Divisor of each frequency (Llama 3.1's rule, as in transformers' modeling_rope_utils)."""
    return [
        _divisor(
            2 * math.pi * float(rope["rope_theta"]) ** (2 * index / head_dim),
            float(rope["factor"]),
            float(rope["original_max_position_embeddings"]),
            float(rope["low_freq_factor"]),
            float(rope["high_freq_factor"]),
        )
        for index in range(head_dim // 2)
    ]


def _divisor(wavelength: float, factor: float, context: float, low: float, high: float) -> float:
    if wavelength < context / high:
        return 1.0
    if wavelength > context / low:
        return factor
    smooth = (context / wavelength - low) / (high - low)
    return 1 / ((1 - smooth) / factor + smooth)


def llama3_parameters(factors: list[float], theta: float) -> dict[str, Any]:
    """The llama3 `rope_parameters` that give these divisors. Raises InputError if there are none.

    Only context/low and context/high have an effect: the published values are used if they fit, else low = 1 and the
    straight line through the divisors between the two ends.
    """
    unknown = InputError(f"the frequencies in {FACTORS} follow no known scaling rule", hint="known: llama3")
    if theta <= 1 or not all(1 <= factor < math.inf for factor in factors):
        raise unknown
    head_dim, factor = 2 * len(factors), max(factors)
    candidates = [(float(_LLAMA3[0]), *_LLAMA3[1:])]
    inverse = [theta ** (-2 * index / head_dim) / (2 * math.pi) for index in range(len(factors))]
    between = [(x, f) for x, f in zip(inverse, factors, strict=True) if 1 + 1e-6 < f < factor - 1e-6 * factor]
    if len(between) >= 2:
        (x1, f1), (x2, f2) = between[0], between[-1]
        y1, y2 = ((1 / f - 1 / factor) / (1 - 1 / factor) for f in (f1, f2))
        slope = (y1 - y2) / (x1 - x2)
        below = slope * x1 - y1  # low / (high - low)
        if slope > 0 and below > 1e-6:
            candidates.append((float(round(slope / below)), 1.0, round(1 + 1 / below, 4)))
    for context, low, high in candidates:
        found = {
            "rope_type": "llama3",
            "rope_theta": theta,
            "factor": round(factor, 6),
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": int(context),
        }
        made = llama3_factors(found, head_dim)
        if all(abs(a - b) <= _CLOSE * b for a, b in zip(made, factors, strict=True)):
            return found
    raise unknown
