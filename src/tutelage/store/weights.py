"""How many parameters a model directory holds, read from the headers of its weight files."""

from __future__ import annotations

import math
from pathlib import Path

from safetensors import SafetensorError, safe_open


def tensor_sizes(directory: Path) -> dict[str, int]:
    """Elements of every tensor in all safetensors files of a directory (one, or shards); empty if one is unreadable."""
    sizes: dict[str, int] = {}
    try:
        for path in sorted(directory.glob("*.safetensors")):
            with safe_open(path, framework="numpy") as file:
                sizes |= {name: math.prod(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError):
        return {}
    return sizes


def parameters_by_part(directory: Path) -> dict[str, int]:
    """Parameters of the embedding, attention, MLP, norms and heads; parts with none are left out."""
    parts: dict[str, int] = {}
    for name, count in tensor_sizes(directory).items():
        parts[_part(name)] = parts.get(_part(name), 0) + count
    return {part: parts[part] for part in _ORDER if part in parts}


_ORDER = ("embedding", "attention", "MLP", "norms", "output head", "classification head", "other")
_MARKS = (("embed", "embedding"), ("wte", "embedding"), ("wpe", "embedding"), ("norm", "norms"), ("ln_", "norms"),
          ("attn", "attention"), ("attention", "attention"), ("mlp", "MLP"), ("lm_head", "output head"),
          ("score", "classification head"))  # fmt: skip


def _part(name: str) -> str:
    return next((part for mark, part in _MARKS if mark in name), "other")
