"""How hard a text is to predict, told before it is read in earnest: what PPMd needs for a small sample of it.

Held-out bits per byte of a small model lie in nearly the same ratio to this figure whatever the text (measured:
`pretraining/expected.py`), so that runs on one text say something of another.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.sources import CODE, TEXTS, input_files, is_dump
from tutelage.store.errors import TutelageError

PIECES, PIECE = 8, 1 << 14  # evenly over the source; bytes of each
LEAST = 1 << 13  # bytes; less text tells nothing
ROWS = (".jsonl", ".ndjson")
PYTHON_BITS = 2.24  # of `python`, whose sample would have to be parsed first


def ppmd_bits(config: CorpusConfig) -> float | None:
    """Bits per byte that PPMd needs for a sample of the source; None where it holds no plain text or rows, or too
    little."""
    if config.source == "python":
        return PYTHON_BITS
    if config.source.startswith("hf:"):
        return None
    try:
        files = [file.path for file in input_files(config.source)]
    except TutelageError:  # said with its reason when the corpus is planned
        return None
    sample = sampled([path for path in files if _readable(path)], config.text_field)
    return compressed_bits(sample) if len(sample) >= LEAST else None


def sampled(files: Sequence[Path], text_field: str = "text") -> bytes:
    """Pieces from evenly spaced places of these files, one behind the other, beginning with a whole line."""
    sizes = [path.stat().st_size for path in files]
    size = min(PIECE, sum(sizes) // PIECES)  # of a small source no part twice, which would look easier than it is
    places = [round(sum(sizes) * (number + 0.5) / PIECES) for number in range(PIECES)] if files else []
    pieces, before, at = list[bytes](), 0, 0
    for place in places:
        while place >= before + sizes[at] and at + 1 < len(files):
            before += sizes[at]
            at += 1
        if piece := _piece(files[at], place - before - size // 2, size, text_field):
            pieces.append(piece)
    return b"\n".join(dict.fromkeys(pieces))  # a small file is met several times


def compressed_bits(text: bytes) -> float:
    """Bits per byte by PPMd (variant H, order 8)."""
    import pyppmd

    encoder = pyppmd.Ppmd7Encoder(8, 1 << 24)
    return 8 * (len(encoder.encode(text)) + len(encoder.flush())) / len(text)


def _readable(path: Path) -> bool:
    name = path.name.lower()
    return (name.endswith((*TEXTS, *CODE, *ROWS)) or not path.suffix) and not is_dump(name)


def _piece(path: Path, begin: int, size: int, text_field: str) -> bytes:
    """A piece of a file in whole lines; of JSON lines the text in them."""
    begin = max(0, min(begin, path.stat().st_size - size))
    try:
        with path.open("rb") as file:
            file.seek(begin)
            if begin:
                file.readline()
            piece = file.read(size)
    except OSError:
        return b""
    if not path.name.lower().endswith(ROWS):
        return piece
    return "\n".join(_text(line, text_field) for line in piece.splitlines()).encode("utf-8")


def _text(line: bytes, text_field: str) -> str:
    try:
        row: Any = json.loads(line)
    except ValueError:  # a line that the piece cuts
        return ""
    return str(row.get(text_field) or "") if isinstance(row, dict) else ""
