"""One way to name things: SHA-256 of bytes, files, trees and canonical JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def canonical_json(data: Any) -> str:
    """JSON with sorted keys and no optional white space: equal data give equal text."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sha256_json(data: Any) -> str:
    return sha256_text(canonical_json(data))


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_files(named: list[tuple[str, Path]]) -> str:
    """Hash of a list of (name, file), independent of the location of the files."""
    digest = hashlib.sha256()
    for name, path in sorted(named, key=lambda pair: pair[0]):
        digest.update(f"{name}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def by_hash(rows: Iterable[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Rows in an order that depends only on the seed and the `id` of each row, not on the order of the file."""
    return sorted(rows, key=lambda row: sha256_text(f"{seed}:{row['id']}"))
