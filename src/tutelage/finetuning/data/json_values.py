"""The records of a JSON file: one a line, an array of them, an object around them, or whole columns beside each other.

What is no JSON but plainly meant (lines that end in commas, Python's notation) is read too, and said.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.finetuning.data.audit import counted, listed
from tutelage.finetuning.data.folder import PARTS
from tutelage.store.errors import InputError
from tutelage.store.jsonl import Malformed, RepeatedKeys, parse_line, read_json_lines
from tutelage.store.text import decode_text, without_compression
from tutelage.store.written import written

WRAPPERS = ("data", "train", "rows", "examples", "instances", "records", "items")  # {"data": [...]}
NOT_UTF8 = "not UTF-8"
NOT_JSON = "not JSON"
_SYSTEMATIC = 3  # lines that are no UTF-8, from which on a file of them has another encoding
_LAST_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,\s*([\]}])', re.DOTALL)
_LONGEST_KEY = 30  # characters of a key that an error shows


@dataclass(frozen=True)
class JsonValues:
    """(line or row number from 1, value or what is wrong with it) of every record. `unit`: line or row."""

    kind: str
    encoding: str
    values: list[tuple[int, Any]]
    unit: str
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_json(path: Path, data: bytes) -> JsonValues:
    """Records of a file that holds JSON. Raises InputError where it is none, or no record is found in it."""
    repeated = RepeatedKeys()
    found = _whole(path.name, data, repeated) or _lines(path, data, repeated)
    if repeated.names:
        found.warnings.append(
            f"a key stands twice in one object ({listed(map(repr, repeated.names))}: "
            f"{counted(repeated.names.total(), 'time')}); the last value is read"
        )
    return found


def _lines(path: Path, data: bytes, repeated: RepeatedKeys) -> JsonValues:
    values = list(read_json_lines(path, repeated=repeated))
    encoding = "utf-8" if not data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-16"
    bad = [(number, value) for number, value in values if isinstance(value, Malformed)]
    if sum(value.why.startswith(NOT_UTF8) for _, value in bad) >= _SYSTEMATIC:
        decoded = decode_text(data, path.name)
        if decoded.guessed:  # JSON lines in a one-byte encoding; a line here and there that is no UTF-8 is damage
            lines = [(number, line) for number, line in enumerate(decoded.text.split("\n"), 1) if line.strip()]
            rows = [(number, parse_line(line, number, path.name, repeated)) for number, line in lines]
            warning = f"read as {decoded.encoding} (guessed): convert it to UTF-8 if letters look wrong"
            return JsonValues("JSON lines", decoded.encoding, rows, "line", warnings=[warning])
    warnings: list[str] = []
    if any(value.why.startswith(NOT_JSON) for _, value in bad):
        values, warnings = _mended(values, data, path.name, repeated)
    if path.name.endswith(".json") and not any(isinstance(value, (dict, list)) for _, value in values):
        number, value = values[0]
        why = value.why if isinstance(value, Malformed) else "not an object"
        raise InputError(f"{path.name} is not JSON: line {number}: {why}")
    return JsonValues("JSON lines", encoding, values, "line", warnings=warnings)


def _mended(
    values: Sequence[tuple[int, Any]], data: bytes, name: str, repeated: RepeatedKeys
) -> tuple[list[tuple[int, Any]], list[str]]:
    """The values with the lines read that are JSON but for a comma at their end, or are written as Python writes."""
    lines = decode_text(data, name).text.split("\n")
    made: list[tuple[int, Any]] = []
    how: Counter[str] = Counter()
    for number, value in values:
        if isinstance(value, Malformed) and value.why.startswith(NOT_JSON) and number <= len(lines):
            line = lines[number - 1].strip()
            if line in ("[", "]", "[,", ","):
                continue
            bare = line.removeprefix("[").removesuffix("]").rstrip().removesuffix(",") if line[-1] in ",]" else line
            bare = without_last_commas(bare)
            parsed = parse_line(bare, number, name, repeated) if bare != line else value
            if isinstance(parsed, dict):
                value = parsed
                how["end in a comma or bracket"] += 1
            elif isinstance(python := written(bare), dict):
                value = python
                how["are written as Python writes, not JSON"] += 1
        made.append((number, value))
    return made, [f"{counted(count, 'line')} {what}, and are read all the same" for what, count in how.items()]


def _whole(name: str, data: bytes, repeated: RepeatedKeys) -> JsonValues | None:
    """The records of a file that is one JSON value, or objects of several lines one after another; None where it is
    JSON lines."""
    lines = without_compression(name).endswith((".jsonl", ".ndjson"))
    if lines and data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] != b"[":
        return None
    decoded = decode_text(data, name)
    text = decoded.text.strip()
    first = text.split("\n", 1)[0]
    if "\n" in text and (text[:1] == "{" or lines) and not isinstance(parse_line(first, 1, name), Malformed):
        return None  # the first line is a whole record
    warnings = [decoded.remark] if (decoded.guessed or decoded.replaced) and decoded.remark else []
    try:
        value = _loaded(text, repeated, warnings)
    except RecursionError:
        raise InputError(f"{name} is nested too deep", hint="give one record a line (.jsonl)") from None
    except ValueError as error:
        if several := _one_after_another(text, repeated):
            return JsonValues("JSON objects one after another", decoded.encoding, list(enumerate(several, 1)), "row",
                              warnings=warnings)  # fmt: skip
        if lines or text[:1] == "{":
            return None
        cut = str(error).startswith("Unterminated string") or getattr(error, "pos", 0) >= len(text) - 1
        hint = "the file is cut short: its end is missing" if cut else "a file of JSON lines is named .jsonl"
        raise InputError(f"{name} is not JSON: {error}", hint=hint) from None
    kind, notes, records = _records(name, value)
    return JsonValues(kind, decoded.encoding, list(enumerate(records, 1)), "row", notes, warnings)


def _loaded(text: str, repeated: RepeatedKeys, warnings: list[str]) -> Any:
    """The value of a JSON text, commas before a closing bracket left out and said. Raises ValueError."""
    try:
        return json.loads(text, object_pairs_hook=repeated.read)
    except json.JSONDecodeError:
        bare = without_last_commas(text)
        if bare == text:
            raise
    try:
        value = json.loads(bare, object_pairs_hook=repeated.read)
    except json.JSONDecodeError:
        return json.loads(text)  # what is wrong is told by its place in the file
    warnings.append("a comma stands before a closing bracket, and is not read")
    return value


def without_last_commas(text: str) -> str:
    """A JSON text without the commas that stand before a closing bracket outside of its strings."""
    return _LAST_COMMA.sub(lambda found: found[1] or found[2], text)


def _one_after_another(text: str, repeated: RepeatedKeys) -> list[Any]:
    """Objects of several lines each that follow one another, as `jq` prints them; none where there is anything else."""
    decoder = json.JSONDecoder(object_pairs_hook=repeated.read)
    found, at = [], 0
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        found.append(value)
        while at < len(text) and text[at].isspace():
            at += 1
    return found if len(found) > 1 and all(isinstance(value, dict) for value in found) else []


def _records(name: str, value: Any) -> tuple[str, list[str], Sequence[Any]]:
    """(kind, notes, records) of one JSON value."""
    if isinstance(value, list):
        return "JSON array", [], value
    if not isinstance(value, dict):
        raise InputError(f"{name} holds no records", hint="give one record a line (.jsonl)")
    if len(value) == 1 and isinstance(inner := next(iter(value.values())), dict) and next(iter(value)) in WRAPPERS:
        return _records(name, inner)
    if splits := _splits(value):
        rows = [{"split": key, **item} if isinstance(item, dict) else item for key in splits for item in value[key]]
        return f"JSON arrays under {', '.join(map(repr, splits))}", [], rows
    arrays = {key: item for key, item in value.items() if isinstance(item, list) and item}
    titles = value.get("columns")
    chosen = next((key for key in WRAPPERS if key in arrays), None)
    if chosen == "data" and isinstance(titles, list) and all(_fits(row, titles) for row in arrays["data"]):
        return "JSON of columns and data", [], [dict(zip(titles, row, strict=True)) for row in arrays["data"]]
    if chosen is not None and not _columns(value):
        others = [key for key in value if key != chosen]
        notes = [f"beside {chosen!r} these keys are not read: {_shown(others)}"] if others else []
        return f"JSON array under {chosen!r}", notes, arrays[chosen]
    if columns := _columns(value):
        return "JSON, a column beside another", [], columns
    if len(value) > 1 and all(isinstance(item, dict) and len(item) > 1 for item in value.values()):
        return "JSON object of records", ["the names of the records are not used"], list(value.values())
    raise InputError(
        f"{name} is one JSON object, no array of records",
        hint=f"its keys are {_shown(value)}; an array under one of {', '.join(WRAPPERS)} is read",
    )


def _fits(row: Any, titles: Sequence[Any]) -> bool:
    return isinstance(row, list) and len(row) == len(titles)


def _columns(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of {"text": {"0": ..., "1": ...}, ...}, which pandas writes by default, or of {"text": [...], ...} where a
    key is the name of a column everywhere; none of anything else."""
    parts = list(value.values())
    if len(parts) < 2 or type(parts[0]) not in (dict, list) or not parts[0]:
        return []
    if all(isinstance(part, dict) and part.keys() == parts[0].keys() for part in parts):
        keys = list(parts[0])
        return [{name: value[name][key] for name in value} for key in keys] if all(map(str.isdigit, keys)) else []
    named = any(name.strip().lower() in _NAMES for name in value)
    if named and all(isinstance(part, list) and len(part) == len(parts[0]) for part in parts):
        return [dict(zip(value, row, strict=True)) for row in zip(*parts, strict=True)]
    return []


# Names of columns, by which lists beside each other are told from lists of texts by label.
_NAMES = ("text", "label", "labels", "sentence", "prompt", "question", "instruction", "response", "answer", "output",
          "completion", "messages", "conversations", "chosen", "rejected", "source", "target")  # fmt: skip


def _splits(value: Mapping[str, Any]) -> list[str]:
    """Keys of an object that are names of splits, training rows among them, where it holds nothing else."""
    keys = [key for key, item in value.items() if isinstance(item, list) and item and key.lower() in PARTS]
    return keys if len(keys) == len(value) > 1 and any(PARTS[key.lower()] == "train" for key in keys) else []


def _shown(keys: Sequence[str] | Mapping[str, Any]) -> str:
    cut = [key if len(key) <= _LONGEST_KEY else key[:_LONGEST_KEY] + "..." for key in keys]
    return listed(cut, 8)
