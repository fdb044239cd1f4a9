"""Facts about a model directory read from its headers alone, without loading a weight."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

from tutelage.report.format import is_number

_MOST_HEADER = 100_000_000  # bytes; the limit of the safetensors format itself


def tensor_sizes(path: Path) -> dict[str, int]:
    """Number of elements of every tensor in a safetensors file; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MOST_HEADER:
                return {}
            header = json.loads(file.read(length))
        return {str(name): math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError):
        return {}


def count_parameters(path: Path) -> int | None:
    sizes = tensor_sizes(path)
    return sum(sizes.values()) if sizes else None


def parameters_by_part(path: Path) -> dict[str, int]:
    """Parameters of the embedding, attention, MLP, norms and heads; parts with none are left out."""
    parts: dict[str, int] = {}
    for name, count in tensor_sizes(path).items():
        parts[_part(name)] = parts.get(_part(name), 0) + count
    order = ["embedding", "attention", "MLP", "norms", "output head", "classification head", "other"]
    return {part: parts[part] for part in order if is_number(parts.get(part))}


def _part(name: str) -> str:
    for mark, part in (("embed", "embedding"), ("norm", "norms"), ("attn", "attention"), ("mlp", "MLP"),
                       ("lm_head", "output head"), ("score", "classification head")):  # fmt: skip
        if mark in name:
            return part
    return "other"
