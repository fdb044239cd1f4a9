"""Readers of a user's own files: text, Markdown, HTML, JSON lines (plain, gzip, zstd) and Parquet."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tutelage.corpus.clean import clean_text
from tutelage.corpus.document import Document, Malformed, document_id
from tutelage.store.errors import ConfigError, InputError

SUFFIXES = (".txt", ".md", ".html", ".htm", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
LONGEST_PART = 2000  # characters of one document cut from a longer text file
_KNOWN = ("source", "name", "kind", "signature", "summary")
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of the source: where it is, its path below the source folder, the label its folder gives it."""

    path: Path
    name: str
    label: str | None


@dataclass(slots=True)
class Reading:
    """What came out of a file: documents, places that could not be read, keys of rows that were not used."""

    documents: list[Document] = field(default_factory=list)
    malformed: list[Malformed] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)


def input_files(source: str) -> list[InputFile]:
    """Files of a folder (sorted; the name of a first-level folder labels what is in it) or the single file.

    Raises ConfigError where nothing is there or a single file is of no known kind, InputError for a folder
    without a readable file.
    """
    root = Path(source).expanduser()
    if root.is_file():
        if not root.name.lower().endswith(SUFFIXES):
            raise ConfigError(f"{source} is no kind of file that can be read", hint=f"known: {' '.join(SUFFIXES)}")
        return [InputFile(root, root.name, None)]
    if not root.is_dir():
        raise ConfigError(f"there is no file or folder {source}", hint="or 'python', or hf:NAME")
    files = []
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") for part in parts)
        if path.name.lower().endswith(SUFFIXES) and not hidden and path.is_file():
            files.append(InputFile(path, "/".join(parts), parts[0] if len(parts) > 1 else None))
    if not files:
        raise InputError(f"{source} holds no file that can be read", hint=f"known: {' '.join(SUFFIXES)}")
    return sorted(files, key=lambda file: file.name)


def read_file(file: InputFile, text_field: str, label_field: str) -> Reading:
    """Documents of one file. What cannot be read is listed in the result, never raised."""
    name = file.name.lower()
    reading = Reading()
    try:
        if name.endswith(".parquet"):
            _read_parquet(file, reading, text_field, label_field)
        elif ".jsonl" in name:
            _read_jsonl(file, reading, text_field, label_field)
        else:
            text = file.path.read_bytes().decode("utf-8-sig")
            reading.documents += _read_html(file, text) if name.endswith((".html", ".htm")) else _read_text(file, text)
    except UnicodeDecodeError as error:
        reading.malformed.append(Malformed(file.name, 0, f"not UTF-8 at byte {error.start}"))
    except (OSError, EOFError, zstandard.ZstdError, pa.ArrowException) as error:
        reading.malformed.append(Malformed(file.name, 0, f"cannot be read: {_first_line(error)}"))
    return reading


def _first_line(error: BaseException) -> str:
    # The strerror of an OSError, else the message: neither may bring the path of this machine into a file.
    return str(getattr(error, "strerror", None) or error or type(error).__name__).split("\n", 1)[0][:200]


def _document(file: InputFile, text: str, name: str | None, label: str | None = None) -> Document:
    text = clean_text(text)
    return Document(document_id(file.name, name, text), text, file.name, name, "text", label=label or file.label)


def _read_text(file: InputFile, text: str) -> Iterator[Document]:
    """A text or Markdown file; a long one gives many documents, cut at blank lines (see `cut`)."""
    text = clean_text(text)
    lines = [line for line in text.split("\n", 20)[:20] if line.startswith("# ")]
    title = lines[0].lstrip("# ") if lines else file.path.name.split(".")[0]
    parts = cut(text)
    for number, part in enumerate(parts, 1):
        yield _document(file, part, title if len(parts) == 1 else f"{title} ({number})")


def cut(text: str, longest: int = LONGEST_PART) -> list[str]:
    """Cut a text at blank lines into parts of at most `longest` characters: a book gives many documents.

    A paragraph is never cut, so one that is longer stands alone.
    """
    parts: list[str] = []
    current = ""
    for paragraph in text.split("\n\n"):
        if current and len(current) + 2 + len(paragraph) > longest:
            parts.append(current)
            current = ""
        current = f"{current}\n\n{paragraph}" if current else paragraph
    return [*parts, current] if current.strip() else parts


def _read_html(file: InputFile, page: str) -> Iterator[Document]:
    """The main content of a page, or its whole text where the extraction finds none."""
    from resiliparse.extract.html2text import extract_plain_text  # late: slow to import

    title = _TITLE.search(page)
    name = extract_plain_text(title[1]).strip() if title else ""
    text = extract_plain_text(page, main_content=True, alt_texts=False)
    if len(text.split()) < 5:
        text = extract_plain_text(page, alt_texts=False)
    for number, part in enumerate(parts := cut(clean_text(text)), 1):
        shown = name or file.path.name.split(".")[0]
        yield _document(file, part, shown if len(parts) == 1 else f"{shown} ({number})")


def _read_jsonl(file: InputFile, reading: Reading, text_field: str, label_field: str) -> None:
    """Lines are decoded one by one, so that a bad one costs itself only."""
    with _opened(file.path) as stream:
        for number, line in enumerate(stream, 1):
            try:
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError as error:
                reading.malformed.append(Malformed(file.name, number, f"not UTF-8 at byte {error.start} of the line"))
                continue
            except (json.JSONDecodeError, RecursionError) as error:
                if line.strip():
                    why = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
                    reading.malformed.append(Malformed(file.name, number, f"not JSON: {why}"))
                continue
            _take_row(file, number, row, reading, text_field, label_field)


def _opened(path: Path) -> BinaryIO:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.name.lower().endswith(".zst"):
        stream = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True, closefd=True)
        return io.BufferedReader(stream)  # type: ignore[type-var, return-value]
    return path.open("rb")


def _read_parquet(file: InputFile, reading: Reading, text_field: str, label_field: str) -> None:
    number = 0
    with pq.ParquetFile(file.path) as table:
        if text_field not in table.schema_arrow.names:
            columns = ", ".join(table.schema_arrow.names)
            reading.malformed.append(Malformed(file.name, 0, f"no column {text_field!r}; it has: {columns}"))
            return
        for batch in table.iter_batches(batch_size=4096):
            for row in batch.to_pylist():
                number += 1
                _take_row(file, number, row, reading, text_field, label_field)


def _take_row(file: InputFile, number: int, row: Any, reading: Reading, text_field: str, label_field: str) -> None:
    if not isinstance(row, dict):
        reading.malformed.append(Malformed(file.name, number, "not a JSON object"))
        return
    if not isinstance(row.get(text_field), str):
        why = f"no {text_field!r}" if row.get(text_field) is None else f"{text_field!r} is not a string"
        reading.malformed.append(Malformed(file.name, number, why))
        return
    for key in row:
        if key not in (text_field, label_field, "id", *_KNOWN):
            reading.ignored[key] = reading.ignored.get(key, 0) + 1
    text = clean_text(row[text_field])
    known = {key: _string(row.get(key)) for key in _KNOWN}
    source = known["source"] or file.name
    label = _string(row.get(label_field)) or file.label
    reading.documents.append(
        Document(
            document_id(source, known["name"], text), text, source, known["name"], known["kind"] or "text",
            known["signature"], known["summary"], label,
        )
    )  # fmt: skip


def _string(value: Any) -> str | None:
    """A value as one line of clean text; None for nothing."""
    if value is None or isinstance(value, (dict, list)):
        return None
    return " ".join(clean_text(str(value)).split()) or None


def read_hub(source: str, text_field: str, label_field: str) -> Reading:
    """Documents of a Hugging Face dataset `hf:NAME[:SPLIT]` (default split: train). Raises ConfigError."""
    rows, name = _hub_dataset(source)
    if text_field not in rows.column_names:
        raise ConfigError(f"{source} has no column {text_field!r}", hint=f"columns: {', '.join(rows.column_names)}")
    names = getattr(rows.features.get(label_field), "names", None)  # class labels are stored as numbers
    reading = Reading()
    file = InputFile(Path(name), name, None)
    for number, row in enumerate(_named_labels(rows, label_field, names), 1):
        _take_row(file, number, row, reading, text_field, label_field)
    return reading


def _named_labels(
    rows: Iterable[dict[str, Any]], label_field: str, names: list[str] | None
) -> Iterator[dict[str, Any]]:
    for row in rows:
        if names and isinstance(row.get(label_field), int) and 0 <= row[label_field] < len(names):
            row = {**row, label_field: names[row[label_field]]}
        yield row


def hub_identity(source: str) -> str:
    """Fingerprint of the dataset as it was loaded."""
    return str(_hub_dataset(source)[0]._fingerprint)


def _hub_dataset(source: str) -> tuple[Any, str]:
    try:
        import datasets
    except ImportError:
        raise ConfigError(f"{source} needs the package 'datasets'", hint="pip install 'tutelage[hub]'") from None
    parts = source.removeprefix("hf:").split(":")
    try:
        return datasets.load_dataset(parts[0], split=parts[1] if len(parts) > 1 else "train"), parts[0]
    except Exception as error:  # the library raises many kinds: absent, gated, no network
        raise ConfigError(f"cannot load {source}: {_first_line(error)}") from error
