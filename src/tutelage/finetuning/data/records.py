"""A file of the user, whatever its kind, as numbered records: tables, JSON lines, Parquet, TMX, compressed or not."""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tutelage.finetuning.data.arrow import read_arrow
from tutelage.finetuning.data.audit import listed
from tutelage.finetuning.data.folder import DataFile, Part, data_files, held_out_part, unread_files
from tutelage.finetuning.data.json_values import NOT_JSON, NOT_UTF8, read_json
from tutelage.finetuning.data.memories import MEMORIES, read_memory
from tutelage.finetuning.data.sheets import SHEETS, read_sheets
from tutelage.finetuning.data.tables import read_table
from tutelage.store.errors import InputError
from tutelage.store.jsonl import Malformed
from tutelage.store.text import (
    FETCH_LFS,
    LFS_POINTER,
    DecodedText,
    decode_text,
    is_lfs_pointer,
    read_bytes,
    reason,
    without_compression,
)

DEEPEST = 64  # levels of a record; what is nested deeper is no row of text
_ROLE = {"role", "from"}
_FASTTEXT = re.compile(r"\s*(?:__label__\S+\s+)+")
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
    heldout_note: str = ""  # which these are, and what says so

    @property
    def columns(self) -> list[str]:
        """Names of all fields, in the order in which they first stand."""
        return list(dict.fromkeys(name for _, record in self.records if isinstance(record, dict) for name in record))

    @property
    def paths(self) -> list[str]:
        """The same as `columns`, with the fields of nested records by their paths, for messages."""
        first = next(iter(self.rows), {})
        nested = {name: _inside(name, value) for name, value in first.items() if isinstance(value, (dict, list))}
        return [path for name in self.columns for path in nested.get(name) or [name]]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The records that could be read."""
        return [record for _, record in self.records if isinstance(record, dict)]


def read_records(path: Path, known: Collection[str], columns: Mapping[str, str] | None = None) -> Source:
    """Every record of a file, or of a folder's files. `known`: column names by which a table's header is told from its
    first row. A column in `columns` may be a path into a nested record: `fields.prompt`, `answers.0.text`.

    Raises InputError where the file is missing, empty, damaged or of a kind that is not read.
    """
    return _with_paths(_folder(path, known, columns) if path.is_dir() else _file(path, known, columns), columns)


def _with_paths(source: Source, columns: Mapping[str, str] | None) -> Source:
    """The source with what stands at the named paths as fields of its own."""
    paths = [name for name in (columns or {}).values() if "." in name and name not in source.columns]
    if not paths:
        return source
    records: list[tuple[int, dict[str, Any] | str]] = []
    for line, record in source.records:
        if isinstance(record, dict):
            found = {path: _at(record, path) for path in paths}
            record = {**record, **{path: value for path, value in found.items() if value is not None}}
        records.append((line, record))
    return replace(source, records=records)


def _at(record: Any, path: str) -> Any:
    """What stands at a path of keys and places; None where there is nothing."""
    for piece in path.split("."):
        if isinstance(record, list) and piece.isdigit() and int(piece) < len(record):
            record = record[int(piece)]
        elif isinstance(record, dict):
            record = record.get(piece)
        else:
            return None
    return record


def _file(path: Path, known: Collection[str], columns: Mapping[str, str] | None) -> Source:
    try:
        data = read_bytes(path)
    except zlib.error as error:  # what gzip raises in the middle of a damaged stream
        raise InputError(f"{path.name} cannot be read: {reason(error)}") from None
    if not data.strip():
        raise InputError(f"{path.name} is empty")
    _refuse_no_data(path, data)
    name = without_compression(path.name)
    if data[:4] == b"PAR1" or name.endswith(".arrow"):
        return _arrow(path.name, data)
    if name.endswith(".parquet"):
        raise InputError(f"{path.name} is not Parquet: it begins with {data[:12]!r}")
    if name.endswith(SHEETS):
        return _sheets(path, data, known, columns)
    if name.endswith(MEMORIES):
        kind, rows, notes = read_memory(path.name, data)
        return Source(path.name, kind, "utf-8", list(enumerate(rows, 1)), "row", notes)
    if data[:2] == b"PK" or name.endswith((".zip", ".pdf", ".docx", ".yaml", ".yml", ".xml")):
        hint = "save it as .csv, .tsv, .xlsx, .jsonl, .json or .parquet"
        raise InputError(f"{path.name}: unknown kind of file", hint=hint)
    if name.endswith((".jsonl", ".ndjson")) or (not name.endswith((".csv", ".tsv", ".psv")) and _opens_json(data)):
        return _json(path, data)
    if name.endswith(".json"):
        raise InputError(f"{path.name} is not JSON: it begins with {data[:12]!r}")
    return _table(path, data, known, columns)


def _refuse_no_data(path: Path, data: bytes) -> None:
    """Raise InputError for what stands in the place of a file that was not really downloaded."""
    if is_lfs_pointer(data):
        raise InputError(f"{path.name} {LFS_POINTER}", hint=FETCH_LFS)
    page = re.match(rb"\s*<(!doctype html|html)\b", data[:200], re.IGNORECASE)
    if page and data.rstrip().lower().endswith(b"</html>"):
        raise InputError(
            f"{path.name} is a web page, not a file of rows", hint="a download may have brought a page with an error"
        )


def _opens_json(data: bytes) -> bool:
    head = data[:64].removeprefix(b"\xef\xbb\xbf").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
    return head.replace(b"\0", b"").lstrip()[:1] in (b"{", b"[")


def _table(path: Path, data: bytes, known: Collection[str], columns: Mapping[str, str] | None) -> Source:
    if 0 < data.count(b"\0") <= len(data) // 1000 + 1:
        # A few NUL bytes are damage in a few rows: marked with another control character, and those rows dropped.
        data = data.replace(b"\0", b"\x1a")
    decoded = decode_text(data, path.name)
    if _FASTTEXT.match(decoded.text):
        return _fasttext(path.name, decoded)
    table = read_table(decoded.text, path.name, known, columns)
    records = [(line, row if isinstance(row, str) else _sound(row)) for line, row in table.records]
    warnings = list(table.warnings)
    if decoded.guessed:
        warnings.append(f"read as {decoded.encoding} (guessed): convert it to UTF-8 if letters look wrong")
    return Source(path.name, table.format, decoded.encoding, records, "line", list(table.notes), warnings)


def _inside(name: str, value: Any) -> list[str]:
    """Paths to the texts and numbers in a nested value; of a list, those of its first element."""
    if isinstance(value, dict):
        return [path for key, item in value.items() for path in _inside(f"{name}.{key}", item)]
    if isinstance(value, list) and value:
        return _inside(f"{name}.0", value[0])
    return [] if isinstance(value, (dict, list)) else [name]


def _fasttext(name: str, decoded: DecodedText) -> Source:
    """Lines as fastText has them: `__label__a __label__b the text`."""
    records: list[tuple[int, dict[str, Any] | str]] = []
    for number, line in enumerate(decoded.text.split("\n"), 1):
        if line.strip():
            marks = _FASTTEXT.match(line)
            labels = [mark.removeprefix("__label__") for mark in marks[0].split()] if marks else []
            record = {"text": line[marks.end() :].strip(), "label": labels} if marks else "no __label__"
            records.append((number, record))
    return Source(name, "fastText lines", decoded.encoding, records)


def _sheets(path: Path, data: bytes, known: Collection[str], columns: Mapping[str, str] | None) -> Source:
    table = read_sheets(data, path.name, known, columns)
    return Source(path.name, table.format, "utf-8", list(table.records), "row", table.notes, table.warnings)


def _json(path: Path, data: bytes) -> Source:
    found = read_json(path, data)
    records = [(number, _record(value)) for number, value in found.values]
    return Source(path.name, found.kind, found.encoding, records, found.unit, found.notes, found.warnings)


def _arrow(name: str, data: bytes) -> Source:
    kind, rows, notes = read_arrow(name, data)
    return Source(name, kind, "utf-8", [(number, _sound(row)) for number, row in enumerate(rows, 1)], "row", notes)


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
    notes = [f"{len(ordered)} files are read as one: {named}"] if len(ordered) > 1 else [f"read of the folder: {named}"]
    if others := unread_files(path, files):
        notes.append(f"not read, as their names say no split: {listed(others, 6)}")
    if left:
        notes.append(f"the {rows_of(left)} rows of {left!r} are not used")
    sources = [read[file] for file in ordered]
    warnings = [warning for source in sources for warning in source.warnings] + _other_columns(sources)
    return Source(
        path.name,
        sources[0].format
        if len(ordered) == 1
        else f"{len(ordered)} files of {' and '.join(dict.fromkeys(source.format for source in sources))}",
        sources[0].encoding,
        list(enumerate((record for source in sources for _, record in source.records), 1)),
        "row",
        [*notes, *dict.fromkeys(note for source in sources for note in source.notes)],
        list(dict.fromkeys(warnings)),
        rows_of(held),
        f"the {rows_of(held)} rows of {held!r} are held out, as the folder's names say, and no others" if held else "",
    )


def _other_columns(sources: Sequence[Source]) -> list[str]:
    """A warning for each file that lacks columns of the first."""
    first = sources[0].columns
    lacking = [(source, [repr(name) for name in first if name not in source.columns]) for source in sources[1:]]
    return [f"{source.file} has no column {listed(names)}, which {sources[0].file} has" for source, names in lacking
            if names and source.records]  # fmt: skip


def _lacks_values(read: Mapping[DataFile, Source]) -> bool:
    """Whether the test rows have nothing in a column that is filled elsewhere."""

    def filled(test: bool) -> set[str]:
        chosen = [source for file, source in read.items() if (file.part == "test") == test]
        return {name for source in chosen for row in source.rows for name, value in row.items() if value is not None}

    return bool(filled(False) - filled(True))


def _record(value: Any) -> dict[str, Any] | str:
    if isinstance(value, Malformed):
        # What is wrong is the reason rows are counted under; where in the line is not.
        return next((text for text in (NOT_UTF8, NOT_JSON) if value.why.startswith(text)), value.why)
    if (
        isinstance(value, list)
        and value
        and all(isinstance(one, dict) and _ROLE & {key.lower() for key in one} for one in value)
    ):
        value = {"messages": value}  # a row that is nothing but its messages
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
