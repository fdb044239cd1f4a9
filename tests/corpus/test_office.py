"""PDF, Word, mail and e-book files: text in order, page numbers, what is missing and what is damaged is named."""

from __future__ import annotations

import io
import sys
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest

from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.readers import read_file
from tutelage.corpus.rows import InputFile, Reading

SENTENCES = [
    f"On page {number} the old river carried the boat of sailor {number} down to the sea." for number in range(9)
]


def read(path: Path, **settings: int) -> Reading:
    return read_file(InputFile(path, path.name, None), CorpusConfig(source=str(path), **settings))


def pdf(pages: list[list[str]], title: str = "") -> bytes:
    """A PDF of lines of text, one list a page."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, lines in enumerate(pages):
        shown = " ".join(f"({line}) Tj T*" for line in lines)
        content = f"BT /F1 12 Tf 14 TL 50 700 Td {shown} ET"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
    objects.append(f"<< /Title ({title}) >>")
    data, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{one}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    tail = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n"
    tail += f"<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>\nstartxref\n{len(data)}\n%%EOF\n"
    return data + tail.encode()


def test_pdf_gives_pieces_with_their_pages_and_without_running_titles(tmp_path: Path) -> None:
    pytest.importorskip("pypdf", reason="needs the extra 'documents'")
    pages = [["The Running Title", sentence, f"{number + 1}"] for number, sentence in enumerate(SENTENCES)]
    (tmp_path / "a.pdf").write_bytes(pdf(pages, "On Rivers"))
    reading = read(tmp_path / "a.pdf", max_characters=200)
    assert not reading.malformed
    assert [one.text for one in reading.documents][:2] == ["\n\n".join(SENTENCES[:2]), "\n\n".join(SENTENCES[2:4])]
    assert "\n\n".join(one.text for one in reading.documents) == "\n\n".join(SENTENCES)
    names = [one.name for one in reading.documents]
    assert (
        names[:2] == ["On Rivers (1), pages 1-2", "On Rivers (2), pages 3-4"] and names[-1] == "On Rivers (5), page 9"
    )
    assert len({one.whole for one in reading.documents}) == 1


def test_pdf_joins_what_a_page_or_a_hyphen_breaks(tmp_path: Path) -> None:
    pytest.importorskip("pypdf", reason="needs the extra 'documents'")
    (tmp_path / "a.pdf").write_bytes(pdf([["The old ri-", "ver carried the"], ["boat to the sea."]]))
    (document,) = read(tmp_path / "a.pdf").documents
    assert document.text == "The old river carried the\nboat to the sea." and document.name == "a, pages 1-2"


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.pdf", b"%PDF-1.4 nothing", "cannot be read as PDF"),
        ("b.pdf", pdf([[], []]), "its 2 pages hold no text (scanned images?)"),
    ],
)
def test_damaged_and_scanned_pdf_is_named(tmp_path: Path, name: str, data: bytes, why: str) -> None:
    pytest.importorskip("pypdf", reason="needs the extra 'documents'")
    (tmp_path / name).write_bytes(data)
    (place,) = read(tmp_path / name).malformed
    assert place.file == name and place.why.startswith(why)


@pytest.mark.parametrize(("name", "package"), [("a.pdf", "pypdf"), ("a.docx", "docx")])
def test_without_the_extra_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / name).write_bytes(b"PK")
    (place,) = read(tmp_path / name).malformed
    assert place.why == f"needs the package {package} (pip install 'tutelage[documents]')"


def test_word_gives_paragraphs_and_tables_in_order(tmp_path: Path) -> None:
    docx = pytest.importorskip("docx", reason="needs the extra 'documents'")
    document = docx.Document()
    document.core_properties.title = "On Rivers"
    document.add_paragraph("Before the table.")
    table = document.add_table(rows=1, cols=2)
    table.cell(0, 0).text, table.cell(0, 1).text = "left", "right"
    document.add_paragraph("After the table.")
    document.save(str(tmp_path / "a.docx"))
    (found,) = read(tmp_path / "a.docx").documents
    assert (found.name, found.text) == ("On Rivers", "Before the table.\n\nleft | right\n\nAfter the table.")
    (tmp_path / "b.docx").write_bytes(b"PK no zip")
    assert read(tmp_path / "b.docx").malformed[0].why.startswith("cannot be read as DOCX")


@pytest.mark.parametrize("kind", ["plain", "html"])
def test_mail_gives_its_text_without_attachments(tmp_path: Path, kind: str) -> None:
    message = EmailMessage()
    message["Subject"] = "Größe"
    if kind == "plain":
        message.set_content("The river is wide.\n", charset="iso-8859-1")
        message.add_alternative("<p>Not this.</p>", subtype="html")
    else:
        message.set_content("<html><body><p>The river is wide.</p></body></html>", subtype="html")
    message.add_attachment(b"secret", maintype="application", subtype="octet-stream", filename="x.bin")
    (tmp_path / "a.eml").write_bytes(bytes(message))
    (found,) = read(tmp_path / "a.eml").documents
    assert (found.name, found.text) == ("Größe", "The river is wide.")


def test_an_empty_mail_is_an_empty_document(tmp_path: Path) -> None:
    message = EmailMessage()
    message.set_content("\n")
    (tmp_path / "a.eml").write_bytes(bytes(message))
    assert [one.text for one in read(tmp_path / "a.eml").documents] == [""]


def epub(chapters: dict[str, str], order: list[str], more: dict[str, str] | None = None) -> bytes:
    data = io.BytesIO()
    items = "".join(f'<item id="{name}" href="text/{name}.xhtml"/>' for name in chapters)
    spine = "".join(f'<itemref idref="{name}"/>' for name in order)
    files = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
        "OEBPS/book.opf": '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<metadata><dc:title>On Rivers</dc:title></metadata><manifest>{items}</manifest>"
        f"<spine>{spine}</spine></package>",
        **{f"OEBPS/text/{name}.xhtml": f"<html><body><p>{text}</p></body></html>" for name, text in chapters.items()},
        **(more or {}),
    }
    with zipfile.ZipFile(data, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    return data.getvalue()


def test_a_book_gives_its_chapters_in_the_order_of_the_spine(tmp_path: Path) -> None:
    (tmp_path / "a.epub").write_bytes(epub({"b": "Second chapter.", "a": "First chapter.", "c": "Cover."}, ["a", "b"]))
    (found,) = read(tmp_path / "a.epub").documents
    assert (found.name, found.text) == ("On Rivers", "First chapter.\n\nSecond chapter.")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"no zip", "cannot be read as EPUB"),
        (epub({"a": "x"}, ["a"], {"META-INF/encryption.xml": "<EncryptedData/>"}), "is encrypted"),
    ],
)
def test_damaged_and_locked_books_are_named(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "a.epub").write_bytes(data)
    assert why in read(tmp_path / "a.epub").malformed[0].why
