"""Readers of a user's own files: text, code, pages, tables, JSON, Parquet, Arrow, notebooks, wiki dumps, documents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.corpus.boilerplate import without_gutenberg
from tutelage.corpus.boundaries import documents_of
from tutelage.corpus.clean import clean_text
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.document import Document, Malformed, document_id
from tutelage.corpus.office import Opened, mails_of, open_office
from tutelage.corpus.passages import cut, cut_lines, is_lines
from tutelage.corpus.rows import InputFile, Reading, make_document, no_column, take_row
from tutelage.corpus.sources import ARROW, CODE, OFFICE, PAGES, PLAIN, SUBTITLES, TABLES, TEXTS, is_dump
from tutelage.corpus.subtitles import spoken
from tutelage.corpus.tables import table_columns, table_rows
from tutelage.corpus.wiki import NotWiki, plain_text, wiki_pages
from tutelage.store.errors import InputError
from tutelage.store.jsonl import read_json_lines
from tutelage.store.text import (
    FETCH_LFS,
    LFS_POINTER,
    UNREADABLE,
    decode_text,
    is_lfs_pointer,
    open_compressed,
    read_bytes,
    reason,
    without_compression,
)

_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_CHARSET = re.compile(
    rb"""<meta[^>]+charset\s*=\s*["']?\s*([\w-]+)|<\?xml[^>]+encoding\s*=\s*["']([\w-]+)""", re.IGNORECASE
)


def read_file(file: InputFile, config: CorpusConfig, write: Callable[[Document], None] | None = None) -> Reading:
    """Documents of one file; `write` takes them as they are read. What cannot be read is listed in the result, never
    raised."""
    name = without_compression(file.path.name)
    reading = Reading(write=write)

    def take(number: int, row: Any) -> None:
        if isinstance(row, Malformed):
            reading.refuse(row)
        else:
            take_row(file, number, row, reading, config.text_field, config.label_field)

    try:
        if name.endswith(".parquet"):
            _read_parquet(file, reading, config.text_field, take)
        elif name.endswith(ARROW):
            _read_arrow(file, reading, config.text_field, take)
        elif name.endswith((".jsonl", ".ndjson")):
            _read_json_lines(file, reading, take)
        elif is_dump(name):
            _read_wiki(file, reading, config.max_characters)
        elif name.endswith(OFFICE):
            opened = open_office(read_bytes(file.path), name[name.rindex(".") :], file.path.name)
            reading.give(_opened(file, opened, config.max_characters))
        elif name.endswith(".mbox"):
            _read_mails(file, reading, config.max_characters)
        else:
            _read_decoded(file, name, reading, take, config)
    except InputError as error:
        # Neither the name again nor the path of this machine.
        why = error.message.removeprefix(file.name).removeprefix(file.path.name).strip()
        reading.refuse(Malformed(file.name, 0, f"{why} ({error.hint})" if _is_missing(error) else why))
    except (*UNREADABLE, pa.ArrowException) as error:
        reading.refuse(Malformed(file.name, 0, f"cannot be read: {reason(error)}"))
    reading.write = None
    return reading


Take = Callable[[int, Any], None]


def _is_missing(error: InputError) -> bool:
    """Whether a package is, so that the hint says how to get it."""
    return "needs the package" in error.message


def _read_decoded(file: InputFile, name: str, reading: Reading, take: Take, config: CorpusConfig) -> None:
    """Every kind of file that is decoded as a whole."""
    data = read_bytes(file.path)
    if is_lfs_pointer(data):
        raise InputError(f"{file.name} {LFS_POINTER}", hint=FETCH_LFS)
    declared = _CHARSET.search(data[:4096]) if name.endswith(PAGES) else None
    charset = (declared[1] or declared[2]).decode("ascii", "replace") if declared else None
    decoded = decode_text(data, file.path.name, charset)
    del data  # of a large file, what is decoded is enough to hold
    if decoded.remark:
        reading.decoded.append((file.name, decoded.remark))
    text, longest = decoded.text, config.max_characters
    if name.endswith(PAGES):
        reading.give(_page(file, text, longest))
    elif name.endswith(TABLES):
        columns = table_columns(text, name.endswith(".tsv"))
        if text.strip() and config.text_field not in columns:
            reading.refuse(no_column(file, config.text_field, columns))
            return
        for number, row in table_rows(text, file.name, name.endswith(".tsv")):
            take(number, row)
    elif name.endswith(".json"):
        _read_json(file, text, reading, take)
    elif name.endswith(".ipynb"):
        reading.give(_notebook(file, text, longest))
    elif name.endswith(CODE):
        whole = clean_text(text)
        reading.give(_pieces(file, whole, cut(whole, longest), file.name, "code"))
    elif name.endswith(SUBTITLES):
        whole = clean_text(spoken(text))
        reading.give(_pieces(file, whole, cut(whole, longest), file.title))
    else:
        _read_text(file, text, reading, config, plain=name.endswith(PLAIN) or not name.endswith(TEXTS))


def _pieces(file: InputFile, whole: str, parts: list[str], title: str, kind: str = "text") -> list[Document]:
    """The pieces of one text as documents that know that they belong together; an empty one, to be counted, of none."""
    if len(parts) <= 1:
        return [make_document(file, clean_text("".join(parts)), title, kind)]
    key = document_id(file.name, title, whole)
    trimmed = (part.strip("\n").rstrip() for part in parts)  # of a clean text, pieces are clean
    return [make_document(file, part, f"{title} ({n})", kind, key) for n, part in enumerate(trimmed, 1)]


def _read_text(file: InputFile, text: str, reading: Reading, config: CorpusConfig, plain: bool) -> None:
    """A text or Markdown file: its documents by their boundary, the long ones in pieces."""
    text, licence = without_gutenberg(text)
    if licence:
        reading.skip("characters of Project Gutenberg headers and licences", licence)
    boundary, texts = documents_of(text, config.boundary, config.marker, plain)
    count = 0
    for number, one in enumerate(texts, 1):
        whole = clean_text(one)
        title = _heading(whole) or (file.title if len(texts) == 1 else f"{file.title} ({number})")
        pieces: list[Document] = []
        if boundary == "file" and is_lines(whole):
            pieces = _pieces(file, whole, cut_lines(whole, config.max_characters), title, "lines")
        elif whole:
            pieces = _pieces(file, whole, cut(whole, config.max_characters), title)
        reading.give(pieces)
        count += len(pieces)
    if not count:
        reading.give(_pieces(file, "", [], file.title))
    reading.boundaries.append((file.name, boundary, len(texts), count))


def _heading(text: str) -> str | None:
    """The title that a Markdown text begins with."""
    titles = [line for line in text.split("\n", 20)[:20] if line.startswith("# ")]
    return titles[0].lstrip("# ") if titles else None


def _opened(file: InputFile, opened: Opened, longest: int) -> Iterator[Document]:
    """A document of another program; pieces of one with pages say which they stand on."""
    title = opened.title or file.title
    parts = cut(opened.text, longest) or [""]
    place = 0
    for piece, part in zip(_pieces(file, opened.text, parts, title), parts, strict=True):
        if opened.pages:
            begin = max(opened.text.find(part[:200], place), place)
            place = begin + len(part) - 1
            first, last = opened.page_of(begin), opened.page_of(place)
            pages = f"page {first}" if first == last else f"pages {first}-{last}"
            piece = replace(piece, name=f"{piece.name}, {pages}")
        yield piece


def _page(file: InputFile, page: str, longest: int) -> list[Document]:
    """The main content of an HTML page, without menus; without comments too, unless they are most of it (a forum).
    Its whole text where the extraction finds none."""
    from resiliparse.extract.html2text import extract_plain_text  # late: slow to import

    title = _TITLE.search(page)
    name = extract_plain_text(title[1]).strip() if title else ""
    text = extract_plain_text(page, main_content=True, comments=False, alt_texts=False)
    discussed = extract_plain_text(page, main_content=True, comments=True, alt_texts=False)
    if 2 * len(text) < len(discussed):
        text = discussed
    if len(text.split()) < 5:
        text = extract_plain_text(page, alt_texts=False)
    whole = clean_text(text)
    return _pieces(file, whole, cut(whole, longest), name or file.title)


def _notebook(file: InputFile, text: str, longest: int) -> list[Document]:
    """The cells of a notebook, text and code, without their outputs."""
    try:
        cells = json.loads(text)["cells"]
        sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{file.path.name} is not a notebook (JSON with cells)") from None
    code = sum(len(source) for kind, source in sources if kind == "code")
    whole = clean_text("\n\n".join(source for _, source in sources))
    return _pieces(file, whole, cut(whole, longest), file.title, "code" if 2 * code > len(whole) else "text")


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
            reading.give([make_document(file, clean_text(row), None)])
        else:
            take(number, row)


def _read_json_lines(file: InputFile, reading: Reading, take: Take) -> None:
    for number, row in read_json_lines(file.path, file.name):
        take(number, row)


def _read_parquet(file: InputFile, reading: Reading, text_field: str, take: Take) -> None:
    number = 0
    with pq.ParquetFile(file.path) as table:
        if text_field not in table.schema_arrow.names:
            reading.refuse(no_column(file, text_field, table.schema_arrow.names))
            return
        for batch in table.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                number += 1
                take(number, row)


def _read_arrow(file: InputFile, reading: Reading, text_field: str, take: Take) -> None:
    """An Arrow file or stream: Feather, and what `save_to_disk` of a Hugging Face dataset writes."""
    number = 0
    with pa.memory_map(str(file.path)) as mapped:
        whole = mapped.read(6) == b"ARROW1"
        mapped.seek(0)
        with pa.ipc.open_file(mapped) if whole else pa.ipc.open_stream(mapped) as table:
            if text_field not in table.schema.names:
                reading.refuse(no_column(file, text_field, table.schema.names))
                return
            for batch in (table.get_batch(at) for at in range(table.num_record_batches)) if whole else table:
                for begin in range(0, len(batch), 256):
                    for row in batch.slice(begin, 256).to_pylist():
                        number += 1
                        take(number, row)


def _read_mails(file: InputFile, reading: Reading, longest: int) -> None:
    """The mails of an mbox file."""
    for number, mail in enumerate(mails_of(read_bytes(file.path)), 1):
        try:
            reading.give(_opened(file, open_office(mail, ".eml", f"mail {number}"), longest))
        except InputError as error:
            reading.refuse(Malformed(file.name, 0, f"mail {number} {error.message}"))


def _read_wiki(file: InputFile, reading: Reading, longest: int) -> None:
    """A MediaWiki dump, page by page."""
    try:
        with open_compressed(file.path) as stream:
            for title, reason_out, wikitext in wiki_pages(stream):
                if reason_out:
                    reading.skip(f"wiki {reason_out}")
                else:
                    whole = clean_text(plain_text(wikitext))
                    reading.give(_pieces(file, whole, cut(whole, longest), title))
    except NotWiki as error:
        why = f"XML with the root {error}: only MediaWiki dumps are read; convert it to text or JSON lines"
        reading.refuse(Malformed(file.name, 0, why))
    except ElementTree.ParseError as error:
        reading.refuse(Malformed(file.name, error.position[0], f"not XML: {error}"))
