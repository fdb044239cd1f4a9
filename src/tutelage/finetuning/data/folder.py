"""A folder as data: the files of rows in it, and which of them are held out by their names. Light to import."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tutelage.corpus.sources import ABOUT_ROWS
from tutelage.store.errors import InputError
from tutelage.store.text import without_compression

KINDS = (".parquet", ".arrow", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".psv", ".xlsx", ".tmx", ".xliff")
_CACHED = re.compile(r"cache-[0-9a-f]+.*\.arrow")  # what the library `datasets` keeps beside its rows: copies of them
_NAMES = r"(train|training|test|testing|validation|valid|val|dev|eval|heldout)"
_SPLIT = re.compile(rf"{_NAMES}(?![a-z])", re.IGNORECASE)  # train.csv, test-00000-of-00002.parquet
_AT_END = re.compile(rf"[-_. ]{_NAMES}$", re.IGNORECASE)  # tickets_train.csv
Part = Literal["train", "test", "validation"]
PARTS: dict[str, Part] = {  # names of splits -> which one is meant
    "train": "train", "training": "train", "test": "test", "testing": "test", "heldout": "test",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation", "eval": "validation",
}  # fmt: skip


@dataclass(frozen=True)
class DataFile:
    """A file of a folder, and the split that its name, or that of the folder it lies in, says it belongs to."""

    path: Path
    part: Part | None


def data_files(folder: Path) -> list[DataFile]:
    """The files of rows in a folder and those below it, in the order of their names. Where there are several kinds of
    files, those whose names say a split, if there are training rows among them.

    Raises InputError where there is none, or where it cannot be told which are meant.
    """
    kinds = _by_kind(folder)
    if not kinds:
        texts = sorted(folder.rglob("*.txt"))
        hint = f"files that are read: {', '.join(KINDS)}"
        if texts:
            hint = f"of texts in a folder for each label make a table with the columns text and label; {hint}"
        raise InputError(f"{folder} holds no file of rows", hint=hint)
    files = [DataFile(path, _part_of(path.relative_to(folder))) for paths in kinds.values() for path in paths]
    if len(kinds) > 1:
        files = [file for file in files if file.part]
        if not any(file.part == "train" for file in files):
            there = " and ".join(f"{len(paths)} {kind}" for kind, paths in kinds.items())
            raise InputError(
                f"{folder} holds {there} files, of which no name says which are the training rows",
                hint="name one file, or put those that belong together into a folder of their own",
            )
    return sorted(files, key=lambda file: file.path)


def unread_files(folder: Path, files: Sequence[DataFile]) -> list[str]:
    """Files of rows in a folder that are not among these, by their paths in it."""
    read = {file.path for file in files}
    return [str(path.relative_to(folder)) for paths in _by_kind(folder).values() for path in paths if path not in read]


def _by_kind(folder: Path) -> dict[str, list[Path]]:
    kinds: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        hidden = any(piece.startswith((".", "~$")) for piece in path.relative_to(folder).parts)
        if hidden or not path.is_file() or path.name in ABOUT_ROWS or _CACHED.fullmatch(path.name):
            continue
        name = without_compression(path.name)
        if kind := next((kind for kind in KINDS if name.endswith(kind)), None):
            kinds.setdefault(kind, []).append(path)
    return kinds


def _part_of(path: Path) -> Part | None:
    for piece in reversed(path.parts):
        bare = without_compression(piece)
        stem = next((bare.removesuffix(kind) for kind in KINDS if bare.endswith(kind)), bare)
        if found := _SPLIT.match(piece) or _AT_END.search(stem):
            return PARTS[found[1].lower()]
    return None


def held_out_part(files: list[DataFile]) -> Part | None:
    """Which of the splits is held out: the test rows, else the validation rows; None where nothing else is left."""
    parts = {file.part for file in files}
    return next((part for part in ("test", "validation") if part in parts and parts - {"test", "validation"}), None)


def file_identities(data: str) -> dict[str, str]:
    """The files behind `data`, name -> path: itself, or those of a folder."""
    path = Path(data).expanduser()
    if not path.is_dir():
        return {"data": data}
    return {f"data/{file.path.relative_to(path)}": str(file.path) for file in data_files(path)}


def total_bytes(data: str) -> int:
    return sum(Path(path).expanduser().stat().st_size for path in file_identities(data).values())
