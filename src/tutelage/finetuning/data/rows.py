"""Our own data files: JSON lines that a stage wrote, and the identity of the user's file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tutelage.store.errors import InputError
from tutelage.store.files import write_atomic
from tutelage.store.hashing import sha256_file

Row = dict[str, Any]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write JSON lines, keys in the order of each row."""
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_rows(path: Path) -> list[Row]:
    """Rows of a JSON-lines file that a stage wrote. Raises InputError if it is missing."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise InputError(f"{path} is missing", hint="its directory is not the result of that stage") from None
    return [json.loads(line) for line in lines if line]


def data_identity(path: str | None) -> str | None:
    """SHA-256 of the user's file, None where there is none: part of the identity of what is made from it."""
    if path is None:
        return None
    try:
        return sha256_file(Path(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
