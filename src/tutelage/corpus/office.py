"""Documents of other programs: PDF (pypdf), Word (python-docx), OpenDocument, mails, e-books (standard library)."""

from __future__ import annotations

import io
import logging
import posixpath
import re
import zipfile
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from email import message_from_bytes, policy
from typing import Any
from xml.etree import ElementTree

from tutelage.corpus.clean import clean_text
from tutelage.store.errors import InputError
from tutelage.store.text import reason

NEEDED = "pip install 'tutelage[documents]'"
_HYPHENATED = re.compile(r"(?<=[a-zà-ÿ])-\n(?=[a-zà-ÿ])")
_DIGITS = re.compile(r"\d+")
_FEWEST_PAGES = 3  # from which on a line that most of them begin or end with is a running title
_MOST_UNPACKED = 1 << 29  # bytes of what a document holds: more is a zip bomb
_MAIL = re.compile(rb"(?:\A|(?<=\n)\r?\n)From [^\r\n]*\d{4}[^\r\n]*\r?\n")  # the line before each mail of an mbox
_MANIFEST = "META-INF/manifest.xml"
_ODF_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}rootfile"
_OPF = "{http://www.idpf.org/2007/opf}"


@dataclass(frozen=True, slots=True)
class Opened:
    """The text of a document, its title if it names one, and where its pages begin (characters; none: no pages)."""

    text: str
    title: str | None = None
    pages: tuple[int, ...] = ()

    def page_of(self, place: int) -> int:
        return bisect_right(self.pages, place)


def open_office(data: bytes, suffix: str, name: str) -> Opened:
    """Text of a .pdf, .docx, .odt, .eml or .epub file. Raises InputError for what cannot be read, or for a package that
    is missing."""
    readers = {".pdf": _pdf, ".docx": _docx, ".odt": _odt, ".eml": _mail, ".epub": _book}
    try:
        return readers[suffix](data)
    except ImportError as error:
        raise InputError(f"{name} needs the package {error.name}", hint=NEEDED) from None
    except InputError:
        raise
    except Exception as error:  # the libraries raise many kinds for damaged and encrypted files
        raise InputError(f"{name} cannot be read as {suffix[1:].upper()}: {reason(error)}") from None


def _pdf(data: bytes) -> Opened:
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it logs of damaged files is said with the file's name
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise InputError("is encrypted")
    pages = _without_running_titles([clean_text(page.extract_text() or "") for page in reader.pages])
    text, starts = "", []
    for page in pages:
        if text and page:
            text += "\n\n" if text.endswith((".", "!", "?", ":", "”", '"')) else "\n"
        starts.append(len(text))
        text += _HYPHENATED.sub("", page)
    if pages and not text.strip():
        raise InputError(f"its {len(pages)} pages hold no text (scanned images?)")
    title = (reader.metadata.title or "").strip() if reader.metadata else ""
    return Opened(text, title or None, tuple(starts))


def _without_running_titles(pages: list[str]) -> list[str]:
    """Pages without the first and last lines that most of them have, but for numbers."""
    if len(pages) < _FEWEST_PAGES:
        return pages
    lines = [page.split("\n") for page in pages]
    for end in (0, -1):
        found = Counter(_DIGITS.sub("#", one[end].strip()) for one in lines if one)
        repeated = {line for line, count in found.items() if count > len(pages) / 2}
        lines = [
            (one[1:] if end == 0 else one[:-1]) if one and _DIGITS.sub("#", one[end].strip()) in repeated else one
            for one in lines
        ]
    return ["\n".join(one).strip("\n") for one in lines]


def _docx(data: bytes) -> Opened:
    from docx import Document

    document = Document(io.BytesIO(data))
    parts = []
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            parts += [" | ".join(cell.text.strip() for cell in row.cells) for row in block.rows]
        else:
            parts.append(block.text)
    return Opened(
        clean_text("\n\n".join(part for part in parts if part.strip())), document.core_properties.title or None
    )


def _odt(data: bytes) -> Opened:
    """Headings and paragraphs in their order, those of tables and lists too."""
    with _unzipped(data) as file:
        if _MANIFEST in file.namelist() and b"encryption-data" in file.read(_MANIFEST):
            raise InputError("is encrypted")
        body = ElementTree.fromstring(file.read("content.xml"))
        meta = ElementTree.fromstring(file.read("meta.xml")) if "meta.xml" in file.namelist() else None
    parts = [_odt_line(one) for one in body.iter() if one.tag in (f"{_ODF_TEXT}p", f"{_ODF_TEXT}h")]
    title = meta.find(".//{http://purl.org/dc/elements/1.1/}title") if meta is not None else None
    return Opened(
        clean_text("\n\n".join(part for part in parts if part.strip())), title.text if title is not None else None
    )


def _odt_line(element: ElementTree.Element) -> str:
    """The text of a paragraph; of a note within it only the mark, since its paragraphs come by themselves."""
    made = element.text or ""
    for inner in element:
        name = inner.tag.removeprefix(_ODF_TEXT)
        if name == "s":
            made += " " * int(inner.get(f"{_ODF_TEXT}c", "1"))
        elif name in ("tab", "line-break"):
            made += "\t" if name == "tab" else "\n"
        elif name not in ("note", "p", "h") and not inner.tag.endswith("}annotation"):
            made += _odt_line(inner)
        made += inner.tail or ""
    return made


def mails_of(data: bytes) -> list[bytes]:
    """The mails of an mbox file (RFC 4155). Raises InputError for what is none."""
    mails = _MAIL.split(data)
    if len(mails) < 2 or mails[0].strip():
        raise InputError("is no mbox file (it begins with no line `From ...`)")
    return [re.sub(rb"(?m)^>(>*From )", rb"\1", mail) for mail in mails[1:]]


def _mail(data: bytes) -> Opened:
    message = message_from_bytes(data, policy=policy.default)
    body: Any = message.get_body(preferencelist=("plain", "html"))
    if body is None:
        raise InputError("holds no text (a mail of attachments only, or no mail)")
    text = body.get_content()
    if body.get_content_type() == "text/html":
        text = _page_text(text)
    return Opened(clean_text(text), str(message.get("subject") or "") or None)


def _book(data: bytes) -> Opened:
    """Chapters of an EPUB in the order of its spine."""
    with _unzipped(data) as file:
        if "META-INF/encryption.xml" in file.namelist() and b"EncryptedData" in file.read("META-INF/encryption.xml"):
            raise InputError("is encrypted (DRM)")
        root = ElementTree.fromstring(file.read("META-INF/container.xml")).find(f".//{_CONTAINER}")
        if root is None:
            raise InputError("names no package document")
        place = root.attrib["full-path"]
        package = ElementTree.fromstring(file.read(place))
        items = {item.attrib["id"]: item.attrib["href"] for item in package.iter(f"{_OPF}item")}
        order = [items[ref.attrib["idref"]] for ref in package.iter(f"{_OPF}itemref") if ref.attrib["idref"] in items]
        folder = posixpath.dirname(place)
        pages = [file.read(posixpath.normpath(posixpath.join(folder, href.split("#")[0]))) for href in order]
    title = package.find(".//{http://purl.org/dc/elements/1.1/}title")
    text = "\n\n".join(_page_text(page.decode("utf-8", "replace")) for page in pages)
    return Opened(clean_text(text), title.text if title is not None else None)


def _unzipped(data: bytes) -> zipfile.ZipFile:
    file = zipfile.ZipFile(io.BytesIO(data))
    if sum(item.file_size for item in file.infolist()) > _MOST_UNPACKED:
        raise InputError(f"unpacks to more than {_MOST_UNPACKED >> 20} MB")
    return file


def _page_text(page: str) -> str:
    from resiliparse.extract.html2text import extract_plain_text  # late: slow to import

    return str(extract_plain_text(page, alt_texts=False))
