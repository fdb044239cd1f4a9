"""Our own data files: JSON lines that a stage wrote."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tutelage.store.jsonl import read_rows, write_json_lines

__all__ = ["Row", "read_rows", "write_rows"]

Row = dict[str, Any]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write JSON lines, keys in the order of each row."""
    write_json_lines(path, rows)
