"""Chunks of work kept in a file, one JSON line per chunk, so that a killed run resumes after the last whole one.

The first line identifies what determines the chunks (settings, seed, weights); a file of another identity starts empty.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tutelage.store.files import write_atomic


def finished_chunks(path: Path, identity: str) -> list[Any]:
    """Whole chunks of an earlier run of the same identity; an incomplete last line is removed from the file."""
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    whole = lines[:-1]  # text after the last newline is an incomplete line
    if not whole or whole[0] != identity:
        write_atomic(path, identity + "\n")
        return []
    if lines[-1]:
        write_atomic(path, "\n".join(whole) + "\n")
    return [json.loads(line) for line in whole[1:]]


def append_chunk(path: Path, chunk: Any) -> None:
    """Append a chunk to the file that `finished_chunks` prepared."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(chunk, ensure_ascii=False) + "\n")
