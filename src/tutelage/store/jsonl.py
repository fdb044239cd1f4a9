"""The one reader and writer of JSON lines, plain or compressed. A bad line costs itself only, and is named."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from tutelage.store.errors import InputError
from tutelage.store.files import new_file
from tutelage.store.text import UNREADABLE, open_compressed, reason, sniff

LONGEST_LINE = 1 << 26  # characters: 64 MB a row is beyond any use and within the memory of any machine
_HEAD = 1 << 12
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Malformed:
    """A place in a file that could not be read. `line` counts from 1; 0 means the whole file."""

    file: str
    line: int
    why: str


class RepeatedKeys:
    """Counts the keys that stand twice in one object, of which JSON's reader keeps the last without a word."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()

    def read(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """The object of these pairs: what `json.loads` takes as `object_pairs_hook`."""
        made = dict(pairs)
        if len(made) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            self.names.update([key for key, count in counts.items() if count > 1])
        return made


def read_json_lines(
    path: Path, name: str | None = None, longest: int = LONGEST_LINE, repeated: RepeatedKeys | None = None
) -> Iterator[tuple[int, Any | Malformed]]:
    """(line number from 1, value or `Malformed`) for each line that is not blank.

    UTF-8, or UTF-16/32 if detected; .gz, .bz2, .xz, .zst are decompressed. A line is malformed if it is not UTF-8, not
    JSON, nested too deep, longer than `longest` characters, or contains NaN, Infinity or half of a surrogate pair
    (which cannot be encoded). `name`: for messages (default: the file name). `repeated` counts duplicate keys in
    objects. Raises InputError for a missing, binary or damaged file (after the lines before the damage).
    """
    shown = name or path.name
    try:
        with open_compressed(path) as file:
            for number, line in _lines(file, shown, longest):
                if len(line) > longest:
                    yield number, Malformed(shown, number, f"longer than {longest:,} characters")
                elif line.strip():
                    yield number, parse_line(line, number, shown, repeated)
    except UNREADABLE as error:
        raise InputError(f"{shown} cannot be read: {reason(error)}") from None


def parse_line(line: str, number: int, name: str, repeated: RepeatedKeys | None = None) -> Any | Malformed:
    """Value of a line of JSON, or `Malformed`. Bytes that are not UTF-8 must be surrogate escapes."""
    try:
        return _parse(line, repeated)
    except ValueError as error:
        return Malformed(name, number, str(error))


def _parse(line: str, repeated: RepeatedKeys | None) -> Any:
    """Value of one line. Raises ValueError with the reason."""
    if not line.isascii():
        try:
            line.encode("utf-8")
        except UnicodeEncodeError as error:
            start = len(line[: error.start].encode("utf-8"))
            raise ValueError(f"not UTF-8 at byte {start} of the line") from None
    try:
        hook = repeated.read if repeated is not None else None
        value = json.loads(line, parse_constant=_refuse_constant, object_pairs_hook=hook)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg.removesuffix(' at')} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    if _HALF_PAIR.search(line):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("contains half of a surrogate pair (\\ud800 to \\udfff), which is not text") from None
        except RecursionError:
            raise ValueError("nested too deep") from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"not JSON: {name} is not allowed")


def _lines(file: BinaryIO, name: str, longest: int) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; a line that is too long is truncated to `longest` + 1 characters."""
    stream = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)  # type: ignore[type-var]
    encoding = sniff(stream.peek(_HEAD)[:_HEAD], name) or "utf-8"
    # A raw carriage return cannot occur in a JSON string, so universal newlines do not split values.
    errors = "surrogateescape" if encoding == "utf-8" else "replace"
    text = io.TextIOWrapper(stream, encoding, errors=errors, newline=None)
    number = 0
    while line := text.readline(longest + 1):
        number += 1
        if number == 1:
            line = line.removeprefix("\ufeff")
        if len(line) > longest and not line.endswith("\n"):
            while (rest := text.readline(longest)) and not rest.endswith("\n"):
                pass
        yield number, line.removesuffix("\n") if len(line) <= longest + 1 and line.endswith("\n") else line


def read_rows(path: Path, hint: str | None = None) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file that a stage wrote, or of a user's, with a hint of what it should be. Raises InputError
    if it is missing or damaged, with the line."""
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "is missing"
        raise InputError(f"{path} {what}", hint=hint or "its directory is not the result of that stage")
    rows: list[dict[str, Any]] = []
    for line, row in read_json_lines(path):
        if not isinstance(row, dict):
            why = row.why if isinstance(row, Malformed) else "not an object"
            raise InputError(
                f"{path}, line {line}: {why}", hint=hint or "a file that a stage wrote is not to be edited"
            )
        rows.append(row)
    return rows


def write_json_lines(path: Path, values: Iterable[Any]) -> int:
    """Write values as JSON lines, whole or not at all, and return how many. `.gz` and `.zst` names compress.

    The same values give the same bytes. Raises InputError for a value that JSON cannot hold, with its line.
    """
    count = 0
    with new_file(path) as file:
        stream = _compressing(file, path.suffix.lower())
        for count, value in enumerate(values, 1):
            try:
                line = json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
            except (TypeError, ValueError, RecursionError) as error:
                raise InputError(f"{path.name}, line {count}: cannot be written as JSON: {reason(error)}") from None
            stream.write(line + b"\n")
        if stream is not file:
            stream.close()
    return count


def _compressing(file: BinaryIO, suffix: str) -> BinaryIO:
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0)  # type: ignore[return-value]
    if suffix == ".zst":
        import zstandard  # late: not every caller compresses

        return zstandard.ZstdCompressor().stream_writer(file, closefd=False)  # type: ignore[return-value]
    return file
