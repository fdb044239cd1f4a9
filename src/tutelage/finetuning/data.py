"""The user's own finetuning data: read, checked line by line, split; and the rows of our own data files.

Every reader returns plain rows and says on the event log which format it saw and which lines it left out,
with line numbers. What cannot be used at all is an InputError before anything long has begun.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.files import write_atomic
from tutelage.store.hashing import sha256_file, sha256_json, sha256_text

Row = dict[str, Any]
ROLES = {"system": "system", "user": "user", "assistant": "assistant", "human": "user", "gpt": "assistant"}
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")


def read_labelled(path: Path, log: EventLog) -> list[Row]:
    """Rows {"id","text","label"} of a CSV/TSV with header `text,label` or of JSON lines with these keys."""
    return _read(path, _labelled, "text,label (CSV, or JSON lines)", log)


def read_conversations(path: Path, log: EventLog) -> list[Row]:
    """Rows {"id","prompt","response","name","signature"} of JSON lines in one of the usual layouts.

    `prompt`/`response` (or `completion`), alpaca (`instruction`, `input`, `output`), `messages`
    (`role`/`content`) or sharegpt (`conversations` of `from`/`value`). A conversation of more than one
    question and one answer also has "messages"; `prompt` and `response` are then its last exchange.
    """
    return _read(path, _conversation, "prompt/response, alpaca, messages or conversations", log)


def read_preferences(path: Path, log: EventLog) -> list[Row]:
    """Rows {"id","prompt","chosen","rejected","chosen_score","rejected_score"} (scores 1 and 0)."""
    return _read(path, _preference, "prompt/chosen/rejected", log)


def split(rows: list[Row], seed: int, share: float = 0.1) -> tuple[list[Row], list[Row]]:
    """(train, held-out), both in hash order. Rows with the same prompt or text stay on the same side.

    `share` of the different prompts, at least one, is held out. Raises InputError where there is only one.
    """
    order = {row["id"]: sha256_text(f"{seed}:{row.get('prompt', row.get('text'))}") for row in rows}
    keys = sorted(set(order.values()))
    if len(keys) < 2:
        raise InputError("one row cannot be split into training and held-out data", hint="give more rows")
    held = frozenset(keys[: max(1, int(len(keys) * share))])
    ordered = sorted(rows, key=lambda row: (order[row["id"]], row["id"]))
    train = [row for row in ordered if order[row["id"]] not in held]
    return train, [row for row in ordered if order[row["id"]] in held]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write JSON lines, keys in the order of each row."""
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_rows(path: Path) -> list[Row]:
    """Rows of a JSON-lines file that a stage wrote. Raises InputError if it is missing."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise InputError(f"{path} is missing", hint="its directory is not the result of that stage") from None
    return [json.loads(line) for line in lines if line]


def _read(path: Path, convert: Callable[[Row], tuple[str, Row]], wanted: str, log: EventLog) -> list[Row]:
    """Convert every record of a file; `convert` gives (format, row) or raises ValueError with the reason."""
    found: dict[str, Row] = {}
    formats: Counter[str] = Counter()
    malformed: list[tuple[int, str]] = []
    duplicates = 0
    for line, record in _records(path):
        try:
            if isinstance(record, ValueError):
                raise record
            kind, row = convert(record)
        except ValueError as error:
            malformed.append((line, str(error)))
            continue
        formats[kind] += 1
        row = {"id": sha256_json(row)[:16], **row}
        duplicates += row["id"] in found
        found.setdefault(row["id"], row)
    if not found:
        why = f": line {malformed[0][0]}: {malformed[0][1]}" if malformed else ": it is empty"
        raise InputError(f"{path.name} has no usable row{why}", hint=f"expected {wanted}")
    read = ", ".join(f"{count} as {kind}" for kind, count in formats.most_common())
    log.note(f"{path.name}: rows read: {read}; {duplicates} exact duplicates dropped")
    if malformed:
        shown = "; ".join(f"line {line}: {why}" for line, why in malformed[:5])
        more = f"; and {len(malformed) - 5} more" if len(malformed) > 5 else ""
        log.warn(f"{path.name}: {len(malformed)} malformed lines left out ({shown}{more})")
    return list(found.values())


def _records(path: Path) -> Iterator[tuple[int, Row | ValueError]]:
    """(line number from 1, record or what is wrong with it) of a CSV, TSV, JSON-lines or JSON-array file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path.name}: unknown kind of file", hint=f"use {', '.join(SUFFIXES)}")
    content = content.removeprefix(b"\xef\xbb\xbf")
    if path.suffix.lower() in (".csv", ".tsv"):
        yield from _table_records(path, content)
    elif path.suffix.lower() == ".json":
        try:
            records = json.loads(content.decode("utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            hint = "a file of JSON lines is named .jsonl"
            raise InputError(f"{path.name} is not JSON: {error}", hint=hint) from None
        if not isinstance(records, list):
            raise InputError(f"{path.name} is not a JSON array of records")
        for number, record in enumerate(records, start=1):
            yield number, record if isinstance(record, dict) else ValueError("not an object")
    else:
        for number, line in enumerate(content.split(b"\n"), start=1):
            if line.strip():
                yield number, _json_record(line)


def _json_record(line: bytes) -> Row | ValueError:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return ValueError("not UTF-8")
    except json.JSONDecodeError:
        return ValueError("not JSON")
    return record if isinstance(record, dict) else ValueError("not a JSON object")


def _table_records(path: Path, content: bytes) -> Iterator[tuple[int, Row | ValueError]]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path.name}, line {line}: not UTF-8", hint="convert it, e.g. with iconv") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ",")
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
    try:
        for record in reader:
            extra = record.pop(None, None)  # type: ignore[call-overload]
            yield reader.line_num, ValueError("more fields than the header") if extra else record
    except csv.Error as error:
        raise InputError(f"{path.name}, line {reader.line_num}: {error}") from None


def _text(record: Row, *keys: str) -> str:
    """The first of `keys` that is there. Raises ValueError unless it is a non-empty string."""
    for key in keys:
        if key in record:
            value = record[key]
            if not isinstance(value, str) or not value.strip():
                raise ValueError(f"{key!r} is empty or not text")
            return value.strip()
    raise ValueError(f"no {keys[0]!r}")


def _labelled(record: Row) -> tuple[str, Row]:
    record = {str(key).lower(): value for key, value in record.items()}
    if isinstance(record.get("label"), (int, bool)):
        record["label"] = str(record["label"])
    return "text,label", {"text": _text(record, "text"), "label": _text(record, "label")}


def _preference(record: Row) -> tuple[str, Row]:
    row = {key: _text(record, key) for key in ("prompt", "chosen", "rejected")}
    if row["chosen"] == row["rejected"]:
        raise ValueError("'chosen' and 'rejected' are equal")
    return "prompt/chosen/rejected", {**row, "chosen_score": 1.0, "rejected_score": 0.0}


def _conversation(record: Row) -> tuple[str, Row]:
    if "messages" in record:
        return "messages", _from_messages(record["messages"], "role", "content")
    if "conversations" in record:
        return "conversations", _from_messages(record["conversations"], "from", "value")
    if "instruction" in record:
        extra = record.get("input")
        context = f"\n{extra.strip()}" if isinstance(extra, str) and extra.strip() else ""
        prompt = _text(record, "instruction") + context
        return "alpaca", _exchange(prompt, _text(record, "output", "response"))
    return "prompt/response", _exchange(_text(record, "prompt"), _text(record, "response", "completion"))


def _exchange(prompt: str, response: str) -> Row:
    return {"prompt": prompt, "response": response, "name": "", "signature": ""}


def _from_messages(messages: Any, role_key: str, content_key: str) -> Row:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise ValueError("messages are not a list of objects")
    turns = []
    for message in messages:
        role = ROLES.get(str(message.get(role_key)))
        if role is None:
            raise ValueError(f"unknown role {message.get(role_key)!r}")
        turns.append({"role": role, "content": _text(message, content_key)})
    # What follows the last answer has no target: it would be read and never learned from.
    while turns and turns[-1]["role"] != "assistant":
        turns.pop()
    if len(turns) < 2 or turns[-2]["role"] != "user":
        raise ValueError("no question followed by an answer")
    row = _exchange(turns[-2]["content"], turns[-1]["content"])
    return row if len(turns) == 2 else {**row, "messages": turns}


def data_identity(path: str | None) -> str | None:
    """SHA-256 of the user's file, None where there is none: part of the identity of what is made from it."""
    if path is None:
        return None
    try:
        return sha256_file(Path(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
