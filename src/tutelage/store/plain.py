"""Plain data of unknown shape, read without surprises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.store import format as f
from tutelage.store.blocks import value_text

Record = dict[str, Any]


def as_float(value: Any) -> float | None:
    return float(value) if f.is_number(value) else None


def as_dict(value: Any) -> Record:
    return value if isinstance(value, dict) else {}


def as_dicts(value: Any) -> list[Record]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def flatten(tree: Record, prefix: str = "") -> list[tuple[str, str]]:
    """Scalars of a nested object as (name, value) texts; lists are left out."""
    out: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = f"{prefix} {f.words(str(key))}".strip()
        if isinstance(value, dict):
            out += flatten(value, name)
        elif not isinstance(value, list) and value is not None:
            out.append((name[:1].upper() + name[1:], value_text(value, str(key))))
    return out


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of nested plain data; a null section stays as its own key."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            out.update(flat(value, f"{prefix}{key}."))
        else:
            out[f"{prefix}{key}"] = value
    return out
