"""Contamination: n-gram overlap of benchmark items with a training corpus."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.store.errors import InputError

WORDS = 13  # n-gram length that counts as the same text (Brown et al. 2020, appendix C)
SHORT = 8  # a shorter text with at least this many words is matched in full
_WORD = re.compile(r"\w+")
_HELD_OUT = ("heldout", "validation", "test")  # files of a corpus that nothing is trained on
Name = tuple[str, str]  # task and item


@dataclass(frozen=True)
class Overlap:
    """found: share of each item's n-grams that occur in the corpus; items that are too short are absent.

    documents, words: how much of the corpus was read.
    """

    found: dict[Name, float]
    documents: int
    words: int


def overlap(items: Mapping[Name, Sequence[str]], documents: Iterable[str]) -> Overlap:
    """Search the documents for the n-grams of each item's texts, ignoring case and punctuation."""
    runs: dict[Name, list[int]] = {}
    wanted: dict[int, set[int]] = {}  # by number of words
    for name, texts in items.items():
        for text in texts:
            words = _words(text)
            size = min(WORDS, len(words))
            if size >= SHORT:
                found = [hash(tuple(words[at : at + size])) for at in range(len(words) - size + 1)]
                runs.setdefault(name, []).extend(found)
                wanted.setdefault(size, set()).update(found)
    seen: set[int] = set()
    count = total = 0
    for text in documents:
        words = _words(text)
        count, total = count + 1, total + len(words)
        for size, some in wanted.items():
            seen.update(some.intersection(hash(tuple(words[at : at + size])) for at in range(len(words) - size + 1)))
    return Overlap({name: sum(one in seen for one in mine) / len(mine) for name, mine in runs.items()}, count, total)


def documents_of(path: Path) -> Iterator[str]:
    """The texts of a corpus: Parquet files with a column `text` (in a corpus artifact, only the training part), text
    files or JSON lines, as a file or a folder. Raises InputError if there are none."""
    import pyarrow.parquet as pq

    files = [file for file in sorted(path.rglob("*")) if file.stem not in _HELD_OUT] if path.is_dir() else [path]
    read = False
    for file in files:
        if file.suffix == ".parquet" and "text" in (names := pq.read_schema(file).names):
            read = True
            columns = ["text", *(["split"] if "split" in names else [])]
            for batch in pq.ParquetFile(file).iter_batches(columns=columns):
                for row in batch.to_pylist():
                    if row.get("split", "train") == "train":
                        yield row["text"]
        elif file.suffix in (".txt", ".md"):
            read = True
            yield file.read_text(encoding="utf-8", errors="replace")
        elif file.name.endswith((".jsonl", ".jsonl.gz")):
            from tutelage.evaluation.bench.sources import read_file

            rows = [row["text"] for row in read_file(file) if isinstance(row.get("text"), str)]
            read = read or bool(rows)
            yield from rows
    if not read:
        raise InputError(f"{path} contains no corpus: no Parquet or JSON lines with `text`, and no .txt files")


def texts_of(row: Mapping[str, Any]) -> list[str]:
    """All strings of a row, at any nesting depth."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, Mapping):
            for key, each in value.items():
                walk(key)
                walk(each)
        elif isinstance(value, (list, tuple)):
            for each in value:
                walk(each)

    for value in row.values():
        walk(value)
    return found


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
