"""Readers of a user's own files: text, source code, pages, tables, JSON, Parquet, notebooks, wiki dumps."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.corpus.clean import clean_text
from tutelage.corpus.document import Document, Malformed
from tutelage.corpus.passages import cut, cut_lines, is_lines
from tutelage.corpus.rows import InputFile, Reading, make_document, no_column, take_row
from tutelage.corpus.tables import table_columns, table_rows
from tutelage.corpus.wiki import NotWiki, plain_text, wiki_pages
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.jsonl import read_json_lines
from tutelage.store.text import UNREADABLE, decode_text, open_compressed, read_bytes, reason, without_compression

TEXTS = (".txt", ".text", ".md", ".markdown", ".rst", ".tex", ".org", ".adoc")
CODE = (
    ".py", ".pyi", ".js", ".mjs", ".jsx", ".ts", ".tsx", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".java", ".kt",
    ".scala", ".go", ".rs", ".rb", ".php", ".pl", ".lua", ".swift", ".jl", ".hs", ".sh", ".bash", ".sql", ".r",
)  # fmt: skip
PAGES = (".html", ".htm", ".xhtml")
TABLES = (".csv", ".tsv")
SUFFIXES = (*TEXTS, *PAGES, *TABLES, ".json", ".jsonl", ".ndjson", ".parquet", ".xml", ".ipynb", *CODE)
_DUMP = re.compile(r"\.xml(-p\d+p\d+[\w-]*)?$")  # the parts of a Wikipedia dump are named so
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_HINT = f"known: {' '.join(SUFFIXES)}, each also as .gz, .bz2, .xz or .zst"


def input_files(source: str) -> list[InputFile]:
    """Files of a folder (sorted; the name of a first-level folder labels what is in it) or the single file.

    A single file of no known kind is read as plain text. Raises ConfigError where nothing is there, InputError for
    a folder without a readable file.
    """
    root = Path(source).expanduser()
    if root.is_file():
        return [InputFile(root, root.name, None)]
    if not root.is_dir():
        raise ConfigError(f"there is no file or folder {source}", hint="or 'python', or hf:NAME")
    files = [
        InputFile(path, "/".join(parts), parts[0] if len(parts) > 1 else None)
        for path, parts in _walk(root)
        if _known(path.name)
    ]
    if not files:
        raise InputError(f"{source} holds no file that can be read", hint=_HINT)
    return sorted(files, key=lambda file: file.name)


def other_files(source: str) -> dict[str, int]:
    """Files of a folder that are of no known kind, counted by suffix (hidden ones are not looked at)."""
    root = Path(source).expanduser()
    counts: dict[str, int] = {}
    for path, _ in _walk(root) if root.is_dir() else ():
        if not _known(path.name):
            suffix = path.suffix.lower() or "no suffix"
            counts[suffix] = counts.get(suffix, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _walk(root: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        if not any(part.startswith(".") for part in parts) and path.is_file():
            yield path, parts


def _known(name: str) -> bool:
    return without_compression(name).endswith(SUFFIXES) or _is_dump(name)


def _is_dump(name: str) -> bool:
    return _DUMP.search(without_compression(name)) is not None


def read_file(file: InputFile, text_field: str, label_field: str, lines: str = "join") -> Reading:
    """Documents of one file. What cannot be read is listed in the result, never raised.

    `lines`: what a text with one sentence a line gives: runs of lines (`join`) or a document each (`each`).
    """
    name = without_compression(file.path.name)
    reading = Reading()
    take = _taker(file, reading, text_field, label_field)
    try:
        if name.endswith(".parquet"):
            _read_parquet(file, reading, text_field, take)
        elif name.endswith((".jsonl", ".ndjson")):
            _read_json_lines(file, reading, take)
        elif _is_dump(name):
            _read_wiki(file, reading)
        else:
            _read_decoded(file, name, reading, text_field, take, lines)
    except InputError as error:
        # Neither the name again nor the path of this machine.
        why = error.message.removeprefix(file.name).removeprefix(file.path.name).strip()
        reading.malformed.append(Malformed(file.name, 0, why))
    except (*UNREADABLE, pa.ArrowException) as error:
        reading.malformed.append(Malformed(file.name, 0, f"cannot be read: {reason(error)}"))
    return reading


Take = Callable[[int, Any], None]


def _taker(file: InputFile, reading: Reading, text_field: str, label_field: str) -> Take:
    def take(number: int, row: Any) -> None:
        if isinstance(row, Malformed):
            reading.malformed.append(row)
        else:
            take_row(file, number, row, reading, text_field, label_field)

    return take


def _read_decoded(file: InputFile, name: str, reading: Reading, text_field: str, take: Take, lines: str) -> None:
    """Every kind of file that is decoded as a whole."""
    decoded = decode_text(read_bytes(file.path), file.path.name)
    if decoded.remark:
        reading.decoded.append((file.name, decoded.remark))
    text = decoded.text
    if name.endswith(PAGES):
        reading.documents += _page(file, text)
    elif name.endswith(TABLES):
        columns = table_columns(text, name.endswith(".tsv"))
        if text.strip() and text_field not in columns:
            reading.malformed.append(no_column(file, text_field, columns))
            return
        for number, row in table_rows(text, file.name, name.endswith(".tsv")):
            take(number, row)
    elif name.endswith(".json"):
        _read_json(file, text, reading, take)
    elif name.endswith(".ipynb"):
        reading.documents += _notebook(file, text)
    elif name.endswith(CODE):
        reading.documents += _numbered(file, cut(clean_text(text)), file.name, "code")
    else:
        reading.documents += _text(file, text, lines)


def _numbered(file: InputFile, parts: list[str], title: str, kind: str = "text") -> Iterator[Document]:
    for number, part in enumerate(parts, 1):
        yield make_document(file, clean_text(part), title if len(parts) == 1 else f"{title} ({number})", kind)


def _text(file: InputFile, text: str, lines: str) -> Iterator[Document]:
    """A text or Markdown file; a long one gives many documents, see `cut`; so does one with a sentence a line."""
    text = clean_text(text)
    titles = [line for line in text.split("\n", 20)[:20] if line.startswith("# ")]
    title = titles[0].lstrip("# ") if titles else file.title
    if lines == "each":
        return _numbered(file, [line for line in text.split("\n") if line.strip()], title)
    if is_lines(text):
        return _numbered(file, cut_lines(text), title, "lines")
    return _numbered(file, cut(text), title)


def _page(file: InputFile, page: str) -> Iterator[Document]:
    """The main content of an HTML page, or its whole text where the extraction finds none."""
    from resiliparse.extract.html2text import extract_plain_text  # late: slow to import

    title = _TITLE.search(page)
    name = extract_plain_text(title[1]).strip() if title else ""
    text = extract_plain_text(page, main_content=True, alt_texts=False)
    if len(text.split()) < 5:
        text = extract_plain_text(page, alt_texts=False)
    return _numbered(file, cut(clean_text(text)), name or file.title)


def _notebook(file: InputFile, text: str) -> Iterator[Document]:
    """The cells of a notebook, text and code, without their outputs."""
    try:
        cells = json.loads(text)["cells"]
        sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{file.path.name} is not a notebook (JSON with cells)") from None
    code = sum(len(source) for kind, source in sources if kind == "code")
    whole = clean_text("\n\n".join(source for _, source in sources))
    return _numbered(file, cut(whole), file.title, "code" if 2 * code > len(whole) else "text")


def _read_json(file: InputFile, text: str, reading: Reading, take: Take) -> None:
    """A JSON file: an array of objects or strings, an object that holds one array, a single object, or JSON lines."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            _read_json_lines(file, reading, take)
            return
        raise InputError(f"{file.path.name} is not JSON: {reason(error)}") from None
    if isinstance(data, dict):
        arrays = [value for value in data.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        data = arrays[0] if len(arrays) == 1 else [data]
    if not isinstance(data, list):
        raise InputError(f"{file.path.name} is neither a JSON array of rows nor an object")
    for number, row in enumerate(data, 1):
        if isinstance(row, str):
            reading.documents.append(make_document(file, clean_text(row), None))
        else:
            take(number, row)


def _read_json_lines(file: InputFile, reading: Reading, take: Take) -> None:
    for number, row in read_json_lines(file.path, file.name):
        take(number, row)


def _read_parquet(file: InputFile, reading: Reading, text_field: str, take: Take) -> None:
    number = 0
    with pq.ParquetFile(file.path) as table:
        if text_field not in table.schema_arrow.names:
            reading.malformed.append(no_column(file, text_field, table.schema_arrow.names))
            return
        for batch in table.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                take(number, row)


def _read_wiki(file: InputFile, reading: Reading) -> None:
    """A MediaWiki dump, page by page."""
    try:
        with open_compressed(file.path) as stream:
            for title, reason_out, wikitext in wiki_pages(stream):
                if reason_out:
                    reading.skip(f"wiki {reason_out}")
                else:
                    reading.documents += _numbered(file, cut(clean_text(plain_text(wikitext))), title)
    except NotWiki as error:
        why = f"XML with the root {error}: only MediaWiki dumps are read; convert it to text or JSON lines"
        reading.malformed.append(Malformed(file.name, 0, why))
    except ElementTree.ParseError as error:
        reading.malformed.append(Malformed(file.name, error.position[0], f"not XML: {error}"))
