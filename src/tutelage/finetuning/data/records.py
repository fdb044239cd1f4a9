"""A file of the user, whatever its kind, as numbered records: tables, JSON, JSON lines, Parquet, compressed or not."""

from __future__ import annotations

import io
import json
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.finetuning.data.audit import listed
from tutelage.finetuning.data.folder import PARTS, DataFile, Part, data_files, held_out_part
from tutelage.finetuning.data.tables import read_table
from tutelage.store.errors import InputError
from tutelage.store.jsonl import Malformed, parse_line, read_json_lines
from tutelage.store.text import DecodedText, decode_text, read_bytes, reason, without_compression

WRAPPERS = ("data", "train", "rows", "examples", "instances", "records", "items")  # {"data": [...]}
DEEPEST = 64  # levels of a record; what is nested deeper is no row of text
_NOT_UTF8 = "not UTF-8"
_SYSTEMATIC = 3  # lines that are no UTF-8, from which on a file of them has another encoding
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Source:
    """Records of a file, or of a folder's files: (line or row number from 1, fields or what is wrong with the row).

    `unit`: line or row.
    """

    file: str
    format: str
    encoding: str
    records: list[tuple[int, dict[str, Any] | str]]
    unit: str = "line"
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    heldout: int = 0  # so many records, the first ones, are held out because their file says so

    @property
    def columns(self) -> list[str]:
        """Names of all fields, in the order in which they first stand."""
        return list(dict.fromkeys(name for _, record in self.records if isinstance(record, dict) for name in record))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The records that could be read."""
        return [record for _, record in self.records if isinstance(record, dict)]


def read_records(path: Path, known: Collection[str], columns: Mapping[str, str] | None = None) -> Source:
    """Every record of a file, or of a folder's files. `known`: column names by which a table's header is told from its
    first row.

    Raises InputError where the file is missing, empty, damaged or of a kind that is not read.
    """
    if path.is_dir():
        return _folder(path, known, columns)
    try:
        data = read_bytes(path)
    except zlib.error as error:  # what gzip raises in the middle of a damaged stream
        raise InputError(f"{path.name} cannot be read: {reason(error)}") from None
    if not data.strip():
        raise InputError(f"{path.name} is empty")
    name = without_compression(path.name)
    if data[:4] == b"PAR1":
        return _parquet(path.name, data)
    if name.endswith(".arrow"):
        return _arrow(path.name, data)
    if data[:2] == b"PK" or name.endswith((".xlsx", ".xls", ".ods", ".zip", ".pdf", ".docx")):
        hint = "save it as .csv, .tsv, .jsonl, .json or .parquet"
        raise InputError(f"{path.name}: unknown kind of file", hint=hint)
    if name.endswith((".jsonl", ".ndjson")) or (not name.endswith((".csv", ".tsv", ".psv")) and _opens_json(data)):
        return _json(path, data)
    if name.endswith(".json"):
        raise InputError(f"{path.name} is not JSON: it begins with {data[:12]!r}")
    return _table(path, data, known, columns)


def _opens_json(data: bytes) -> bool:
    head = data[:64].removeprefix(b"\xef\xbb\xbf").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
    return head.replace(b"\0", b"").lstrip()[:1] in (b"{", b"[")


def _table(path: Path, data: bytes, known: Collection[str], columns: Mapping[str, str] | None) -> Source:
    if 0 < data.count(b"\0") <= len(data) // 1000 + 1:
        # A few NUL bytes are damage in a few rows: marked with another control character, and those rows dropped.
        data = data.replace(b"\0", b"\x1a")
    decoded = decode_text(data, path.name)
    table = read_table(decoded.text, path.name, known, columns)
    records = [(line, row if isinstance(row, str) else _sound(row)) for line, row in table.records]
    warnings = list(table.warnings)
    if decoded.guessed:
        warnings.append(f"read as {decoded.encoding} (guessed): convert it to UTF-8 if letters look wrong")
    return Source(path.name, table.format, decoded.encoding, records, "line", list(table.notes), warnings)


def _json(path: Path, data: bytes) -> Source:
    """JSON lines; or one array, or an object around one, where the first line is not a whole record."""
    whole = _whole(path.name, data)
    if whole is None:
        records = [(line, _record(value)) for line, value in read_json_lines(path)]
        encoding = "utf-8" if not data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-16"
        if (guessed := _one_byte_lines(path, data, records)) is not None:
            return guessed
        if not any(isinstance(record, dict) for _, record in records) and path.name.endswith(".json"):
            raise InputError(f"{path.name} is not JSON: line {records[0][0]}: {records[0][1]}")
        return Source(path.name, "JSON lines", encoding, records)
    value, decoded = whole
    kind, notes = "JSON array", []
    if isinstance(value, dict) and (splits := _splits(value)):
        kind = f"JSON arrays under {', '.join(map(repr, splits))}"
        value = [{"split": key, **item} if isinstance(item, dict) else item for key in splits for item in value[key]]
    elif isinstance(value, dict):
        arrays = {key: item for key, item in value.items() if isinstance(item, list) and item}
        chosen = next((key for key in WRAPPERS if key in arrays), None)
        if chosen is None:
            raise InputError(
                f"{path.name} is one JSON object, no array of records",
                hint=f"its keys are {', '.join(list(value)[:8])}; an array under one of {', '.join(WRAPPERS)} is read",
            )
        others = [key for key in value if key != chosen]
        kind, value = f"JSON array under {chosen!r}", arrays[chosen]
        if others:
            notes.append(f"beside {chosen!r} these keys are not read: {', '.join(others[:8])}")
    records = [(number, _record(item)) for number, item in enumerate(value, start=1)]
    warnings = [decoded.remark] if decoded.guessed or decoded.replaced else []
    return Source(path.name, kind, decoded.encoding, records, "row", notes, [text for text in warnings if text])


def _splits(value: Mapping[str, Any]) -> list[str]:
    """Keys of an object that are names of splits, training rows among them, where it holds nothing else."""
    keys = [key for key, item in value.items() if isinstance(item, list) and item and key.lower() in PARTS]
    return keys if len(keys) == len(value) > 1 and any(PARTS[key.lower()] == "train" for key in keys) else []


def _whole(name: str, data: bytes) -> tuple[Any, DecodedText] | None:
    """The file's one JSON value and how it was decoded; None where it is JSON lines."""
    lines = without_compression(name).endswith((".jsonl", ".ndjson"))
    opening = data.lstrip()[:1]
    if lines and opening != b"[":
        return None
    decoded = decode_text(data, name)
    text = decoded.text.strip()
    if text[:1] == "{" and "\n" in text and not isinstance(parse_line(text.split("\n", 1)[0], 1, name), Malformed):
        return None  # the first line is a whole record
    try:
        return json.loads(text), decoded
    except RecursionError:
        raise InputError(f"{name} is nested too deep", hint="give one record a line (.jsonl)") from None
    except ValueError as error:
        if lines or text[:1] == "{":
            return None
        hint = "a file of JSON lines is named .jsonl"
        raise InputError(f"{name} is not JSON: {error}", hint=hint) from None


def _one_byte_lines(path: Path, data: bytes, records: Sequence[tuple[int, Any]]) -> Source | None:
    """JSON lines in a one-byte encoding; None where only a line here and there is no UTF-8, which is damage."""
    damaged = sum(record == _NOT_UTF8 for _, record in records)
    decoded = decode_text(data, path.name) if damaged >= _SYSTEMATIC else None
    if decoded is None or not decoded.guessed:
        return None
    lines = [(number, line) for number, line in enumerate(decoded.text.split("\n"), 1) if line.strip()]
    rows = [(number, _record(parse_line(line, number, path.name))) for number, line in lines]
    warning = f"read as {decoded.encoding} (guessed): convert it to UTF-8 if letters look wrong"
    return Source(path.name, "JSON lines", decoded.encoding, rows, warnings=[warning])


def _parquet(name: str, data: bytes) -> Source:
    import pyarrow as pa  # late: slow to import
    import pyarrow.parquet as pq

    try:
        return _table_of(name, "Parquet", pq.read_table(io.BytesIO(data)))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{name} is not readable as Parquet: {reason(error)}") from None


def _arrow(name: str, data: bytes) -> Source:
    """An Arrow file, or the stream as the Hugging Face library `datasets` saves it."""
    import pyarrow as pa  # late: slow to import

    try:
        reader = pa.ipc.open_file(data) if data[:6] == b"ARROW1" else pa.ipc.open_stream(data)
        return _table_of(name, "Arrow", reader.read_all())
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{name} is not readable as Arrow: {reason(error)}") from None


def _table_of(name: str, kind: str, table: Any) -> Source:
    """Rows of an Arrow table; numbers of classes become their names, where the file's own metadata has them."""
    names = _class_names(table.schema.metadata or {})
    rows = table.to_pylist()
    notes = []
    for column, named in names.items():
        if column in table.column_names:
            for row in rows:
                row[column] = _named(row[column], named)
            shown = ", ".join(f"{number} is {label!r}" for number, label in enumerate(named[:3]))
            more = f", and {len(named) - 3} more" if len(named) > 3 else ""
            notes.append(f"{column!r} is read by the names of its classes, which the file holds: {shown}{more}")
    records = [(number, _sound(row)) for number, row in enumerate(rows, 1)]
    return Source(name, kind, "utf-8", records, "row", notes)


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Column -> names of its classes, from what the library `datasets` writes (ClassLabel, alone or in a list)."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    found = {}
    for column, feature in features.items() if isinstance(features, dict) else ():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and isinstance(inner.get("names"), list):
            found[column] = [str(one) for one in inner["names"]]
    return found


def _named(value: Any, names: Sequence[str]) -> Any:
    """A number of a class as its name; -1, which stands for no label, as None."""
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None


def _folder(path: Path, known: Collection[str], columns: Mapping[str, str] | None) -> Source:
    """All files of a folder as one. Its test rows (else its validation rows) come first and are held out."""
    files = data_files(path)
    read = {file: read_records(file.path, known, columns) for file in files}
    held = held_out_part(files)
    left: Part | None = "validation" if held == "test" and any(file.part == "validation" for file in files) else None
    if left and _lacks_values(read):  # published test rows may come without their labels
        held, left = left, held
    ordered = [file for file in files if held and file.part == held]
    ordered += [file for file in files if file.part not in {held, left} - {None}]

    def rows_of(part: Part | None) -> int:
        return sum(len(source.records) for file, source in read.items() if part and file.part == part)

    named = listed([str(file.path.relative_to(path)) for file in ordered], 6)
    notes = [f"{len(ordered)} files are read as one: {named}"]
    if held:
        notes.append(f"the {rows_of(held)} rows of {held!r} are held out, as the folder's names say, and no others")
    if left:
        notes.append(f"the {rows_of(left)} rows of {left!r} are not used")
    sources = [read[file] for file in ordered]
    return Source(
        path.name,
        sources[0].format if len(ordered) == 1 else f"{len(ordered)} files of {sources[0].format}",
        sources[0].encoding,
        list(enumerate((record for source in sources for _, record in source.records), 1)),
        "row",
        [*notes, *dict.fromkeys(note for source in sources for note in source.notes)],
        list(dict.fromkeys(warning for source in sources for warning in source.warnings)),
        rows_of(held),
    )


def _lacks_values(read: Mapping[DataFile, Source]) -> bool:
    """Whether the test rows have nothing in a column that is filled elsewhere."""

    def filled(test: bool) -> set[str]:
        chosen = [source for file, source in read.items() if (file.part == "test") == test]
        return {name for source in chosen for row in source.rows for name, value in row.items() if value is not None}

    return bool(filled(False) - filled(True))


def _record(value: Any) -> dict[str, Any] | str:
    if isinstance(value, Malformed):
        # What is wrong is the reason rows are counted under; where in the line is not.
        return next((text for text in (_NOT_UTF8, "not JSON") if value.why.startswith(text)), value.why)
    return _sound(value) if isinstance(value, dict) else "not an object"


def _sound(record: dict[str, Any]) -> dict[str, Any] | str:
    """The record, or why it cannot be used: nested too deep, or with text that no file can hold."""
    level: list[Any] = [record]
    for _ in range(DEEPEST):
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, str):
                if _SURROGATE.search(value):
                    return "holds one half of a surrogate pair, which is no text"
            elif isinstance(value, dict):
                deeper += [*value, *value.values()]
            elif isinstance(value, list):
                deeper += value
        if not deeper:
            return record
        level = deeper
    return "nested too deep"
