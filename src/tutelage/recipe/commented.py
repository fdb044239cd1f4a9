"""Recipe data as YAML with the reason for each value as a comment."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

WIDTH, INDENT = 100, 2  # of a reason above its value


def commented(data: Mapping[str, Any], reasons: Mapping[str, str]) -> str:
    """YAML in the order of the data; above a value whose dotted key has a reason, the reason as a comment."""
    return "\n".join(_lines(data, reasons, "", 0)) + "\n"


def _lines(data: Mapping[str, Any], reasons: Mapping[str, str], place: str, depth: int) -> Iterator[str]:
    margin = " " * (INDENT * depth)
    for name, value in data.items():
        key = f"{place}{name}"
        if reason := "".join(char for char in reasons.get(key, "") if char.isprintable()):
            yield from textwrap.wrap(reason, WIDTH, initial_indent=f"{margin}# ", subsequent_indent=f"{margin}# ")
        if isinstance(value, Mapping) and value:
            yield f"{margin}{_scalar(name)}:"
            yield from _lines(value, reasons, f"{key}.", depth + 1)
        else:
            yield f"{margin}{_scalar(name)}: {_scalar(value)}"


def _scalar(value: Any) -> str:
    """A value on one line, quoted where YAML needs it."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1 << 30).strip()
    return text.removesuffix("\n...").strip()
