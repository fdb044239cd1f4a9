"""Our own data files: JSON lines that a stage wrote, and the identity of the user's file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tutelage.store.errors import InputError
from tutelage.store.hashing import sha256_file
from tutelage.store.jsonl import Malformed, read_json_lines, write_json_lines

Row = dict[str, Any]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write JSON lines, keys in the order of each row."""
    write_json_lines(path, rows)


def read_rows(path: Path) -> list[Row]:
    """Rows of a JSON-lines file that a stage wrote. Raises InputError if it is missing or damaged."""
    if not path.is_file():
        raise InputError(f"{path} is missing", hint="its directory is not the result of that stage")
    rows: list[Row] = []
    for line, row in read_json_lines(path):
        if not isinstance(row, dict):
            why = row.why if isinstance(row, Malformed) else "not an object"
            raise InputError(f"{path}, line {line}: {why}", hint="a file that a stage wrote is not to be edited")
        rows.append(row)
    return rows


def data_identity(path: str | None) -> str | None:
    """SHA-256 of the user's file, None where there is none: part of the identity of what is made from it."""
    if path is None:
        return None
    try:
        return sha256_file(Path(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
