"""Kinds of files that people keep text in: subtitles, Arrow, mail folders, OpenDocument, files without a suffix."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pytest

from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.readers import read_file
from tutelage.corpus.rows import InputFile, Reading
from tutelage.corpus.sources import input_files, other_files
from tutelage.corpus.subtitles import spoken
from tutelage.store.errors import InputError


def read(path: Path, **settings: str) -> Reading:
    return read_file(InputFile(path, path.name, None), CorpusConfig(source=str(path), **settings))


def texts(path: Path, **settings: str) -> list[str]:
    reading = read(path, **settings)
    assert not reading.malformed
    return [one.text for one in reading.documents]


SRT = """1
00:00:01,000 --> 00:00:02,500
<i>The river is high,</i>

2
00:00:02,600 --> 00:00:04,000
{\\an8}said Anna &amp; Tom
to the 3 --> 4 of them.

3
00:00:04,000 --> 00:00:05,000
to the 3 --> 4 of them.
42
"""
VTT = """WEBVTT - a title

NOTE made by hand
and not spoken

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.000 align:start
<v Anna>The river is <00:01.500>high.

01:00:02.000 --> 01:00:03.000
All week.
"""


def test_subtitles_give_what_is_spoken(tmp_path: Path) -> None:
    assert spoken(SRT) == "The river is high,\nsaid Anna & Tom\nto the 3 --> 4 of them.\n42"
    assert spoken(VTT) == "The river is high.\nAll week."
    assert spoken(SRT.replace("\n", "\r\n")) == spoken(SRT)
    assert spoken("No times here.\n\n1\nat all") == ""
    (tmp_path / "a.srt").write_text(SRT, encoding="utf-8")
    assert texts(tmp_path / "a.srt") == [spoken(SRT)]


@pytest.mark.parametrize("suffix", ["feather", "arrow"])
def test_arrow_files_and_streams_are_rows(tmp_path: Path, suffix: str) -> None:
    table = pa.table({"text": [f"Text {number}." for number in range(700)], "label": ["a", "b"] * 350})
    path = tmp_path / f"data.{suffix}"
    if suffix == "feather":
        feather.write_feather(table, str(path), compression="zstd")
    else:  # as the datasets library writes them
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=300)
    documents = read(path).documents
    assert [one.text for one in documents] == table["text"].to_pylist()
    assert [one.label for one in documents[:2]] == ["a", "b"]
    assert "no column 'body'; it has: text, label" in read(path, text_field="body").malformed[0].why
    path.write_bytes(path.read_bytes()[:100])
    assert "cannot be read" in read(path).malformed[0].why


def test_a_saved_dataset_is_read_without_its_notes(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for name in ("dataset_dict.json", "train/state.json", "train/dataset_info.json", "other.json"):
        (tmp_path / name).write_text('{"text": "A note."}', encoding="utf-8")
    table = pa.table({"text": ["One."]})
    saved = str(tmp_path / "train/data-00000-of-00001.arrow")
    with pa.OSFile(saved, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    assert [one.name for one in input_files(str(tmp_path))] == ["other.json", "train/data-00000-of-00001.arrow"]


def test_a_mail_folder_is_a_document_a_mail(tmp_path: Path) -> None:
    mail = "From anna@a.org Mon Jan  5 10:00:00 2026\nFrom: anna@a.org\nSubject: {}\n\n{}\n\n"
    body = "The river is high.\n\nFrom here it looks bad.\n>From there too."
    (tmp_path / "a.mbox").write_text(mail.format("River", body) + mail.format("Again", "All week."), encoding="utf-8")
    documents = read(tmp_path / "a.mbox").documents
    assert [one.text for one in documents] == [body.replace(">From", "From"), "All week."]
    assert [one.name for one in documents] == ["River", "Again"]
    (tmp_path / "b.mbox").write_text("Only text.", encoding="utf-8")
    assert "is no mbox file" in read(tmp_path / "b.mbox").malformed[0].why


def open_document(path: Path, body: str, manifest: str = "") -> None:
    spaces = 'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"'
    spaces += ' xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("content.xml", f"<office:document-content {spaces}>{body}</office:document-content>")
        file.writestr("meta.xml", f"<office:document-meta {spaces}><dc:title>Rivers</dc:title></office:document-meta>")
        file.writestr("META-INF/manifest.xml", f"<manifest>{manifest}</manifest>")


def test_open_document_text_comes_in_its_order(tmp_path: Path) -> None:
    inner = "<text:note-citation>1</text:note-citation><text:note-body><text:p>A note.</text:p></text:note-body>"
    listed = "<text:list><text:list-item><text:p>All week.</text:p></text:list-item></text:list>"
    open_document(
        tmp_path / "a.odt",
        "<text:h>Rivers</text:h><text:p>The <text:span>river</text:span><text:s text:c='2'/>is"
        f"<text:line-break/>high<text:note>{inner}</text:note>.</text:p>{listed}",
    )
    (document,) = read(tmp_path / "a.odt").documents
    assert document.text == "Rivers\n\nThe river  is\nhigh.\n\nA note.\n\nAll week." and document.name == "Rivers"
    open_document(tmp_path / "b.odt", "", "<encryption-data/>")
    assert "is encrypted" in read(tmp_path / "b.odt").malformed[0].why
    (tmp_path / "c.odt").write_bytes(b"no zip")
    assert "cannot be read as ODT" in read(tmp_path / "c.odt").malformed[0].why


def test_files_without_a_suffix_are_read_where_they_are_text(tmp_path: Path) -> None:
    (tmp_path / "news").mkdir()
    (tmp_path / "news/51060").write_text("A text.", encoding="utf-8")
    (tmp_path / "mail.17").write_bytes("Größe in Latin-1.".encode("latin-1"))
    (tmp_path / "program").write_bytes(b"\x7fELF\0\0\1")
    (tmp_path / "LICENSE").write_text("Permission is granted.", encoding="utf-8")
    (tmp_path / "empty").touch()
    assert [(one.name, one.label) for one in input_files(str(tmp_path))] == [("mail.17", None), ("news/51060", "news")]
    assert other_files(str(tmp_path)) == {"files of unknown kind (no suffix)": 3}
    assert texts(tmp_path / "mail.17") == ["Größe in Latin-1."]


@pytest.mark.parametrize("name", ["texts.zip", "texts.tar.gz", "texts.tgz", "TEXTS.ZIP"])
def test_archives_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\3\4")
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(InputError, match="archive") as raised:
            input_files(str(source))
        assert "unpack it first" in str(raised.value.hint)
    (tmp_path / "a.txt").write_text("A text.", encoding="utf-8")
    assert other_files(str(tmp_path)) == {"archives (to be unpacked first)": 1}
