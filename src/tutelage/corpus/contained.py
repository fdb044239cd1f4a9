"""Whether rows of another file stand in the text of a corpus: a look before anything is read in earnest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tutelage.corpus.sources import ARROW, input_files
from tutelage.store.errors import TutelageError
from tutelage.store.jsonl import Malformed, read_json_lines

ROWS, SHORTEST = 40, 40  # rows that are looked for; characters of a passage that is no accident
LARGEST = 32 << 20  # bytes of the corpus that are looked through


def contained(source: str, file: Path) -> tuple[int, int]:
    """(rows whose longest text stands verbatim in the source, rows looked for); zeros where it cannot be told.

    A file inside the source folder counts whole: what is read there is trained on.
    """
    if source == "python" or source.startswith("hf:") or not file.is_file():
        return 0, 0
    passages = [passage for passage in _passages(file) if len(passage) >= SHORTEST][:ROWS]
    place = Path(source).expanduser().resolve()
    if place == file.resolve() or place in file.resolve().parents:
        return max(1, len(passages)), max(1, len(passages))
    found: set[int] = set()
    for text in _texts(source):
        found |= {at for at, passage in enumerate(passages) if at not in found and _stands(passage, text)}
    return len(found), len(passages)


def _stands(passage: str, text: str) -> bool:
    """As it is, or as JSON writes it."""
    return passage in text or json.dumps(passage, ensure_ascii=False)[1:-1] in text


def _passages(file: Path) -> Iterator[str]:
    """The longest text of each row: of JSON lines the longest value, of other text files the lines."""
    if file.name.lower().endswith((".jsonl", ".ndjson")):
        try:
            for _, row in read_json_lines(file):
                yield max(_strings(row), key=len, default="") if not isinstance(row, Malformed) else ""
        except TutelageError:
            return
    elif file.name.lower().endswith((".csv", ".tsv", ".txt", ".md")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            yield max(line.replace("\t", ",").split(","), key=len).strip(' "')


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _texts(source: str) -> Iterator[str]:
    """The files of the source as text, up to a size; compressed and binary ones are passed over."""
    left = LARGEST
    try:
        files = input_files(source)
    except TutelageError:  # said with its reason when the corpus is planned
        return
    for file in files:
        size = file.path.stat().st_size
        if file.path.suffix.lower() in (".gz", ".zst", ".bz2", ".xz", ".parquet", *ARROW) or size > left:
            continue
        left -= size
        yield file.path.read_text(encoding="utf-8", errors="replace")
