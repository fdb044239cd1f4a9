"""Every kind of file is read; what cannot be read is named with file and line, never lost in silence."""

from __future__ import annotations

import bz2
import gzip
import json
import sys
import types
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.hub import read_hub
from tutelage.corpus.passages import cut, is_lines
from tutelage.corpus.readers import read_file
from tutelage.corpus.rows import InputFile, Reading
from tutelage.corpus.sources import files_identity, input_files, other_files
from tutelage.store.errors import ConfigError, InputError

TEXT = "Un été à la plage, “très” chaud.\nEncore."


def read(path: Path, label: str | None = None, **settings: Any) -> Reading:
    return read_file(InputFile(path, path.name, label), CorpusConfig(source=str(path), **settings))


def test_text_and_markdown(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("\ufeffOne line.\r\nAnother.\r\n", encoding="utf-8")
    (tmp_path / "page.md").write_text("# The title\n\nSome text.\n", encoding="utf-8")
    (note,) = read(tmp_path / "note.txt", "letters").documents
    assert (note.text, note.name, note.source, note.label) == (
        "One line.\nAnother.", "note", "note.txt", "letters",
    )  # fmt: skip
    (page,) = read(tmp_path / "page.md").documents
    assert page.name == "The title" and page.kind == "text"


def test_a_book_gives_many_documents_and_loses_nothing(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph {number} " + "word " * 60 + "ends." for number in range(50)]
    (tmp_path / "book.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    documents = read(tmp_path / "book.txt").documents
    assert len(documents) > 5 and all(len(document.text) <= 2000 for document in documents)
    assert "\n\n".join(document.text for document in documents) == "\n\n".join(paragraphs)
    assert documents[0].name == "book (1)"


def test_cut_never_cuts_a_paragraph() -> None:
    assert cut("a" * 30 + "\n\nb\n\nc", 10) == ["a" * 30, "b\n\nc"]
    assert cut("") == []


def test_html_main_content_and_title(tmp_path: Path) -> None:
    body = "<p>" + "The long story of a small model that was raised on two cores is told here. " * 6 + "</p>"
    page = f"<html><head><title>A &amp; B</title></head><body><nav>Menu</nav><main>{body}</main></body></html>"
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    (document,) = read(tmp_path / "a.html").documents
    assert document.name == "A & B" and "long story" in document.text and "<p>" not in document.text


@pytest.mark.parametrize(
    "wrap", ["<div>{}</div>", "<form>{}<input type=submit></form>", "<table><tr><td>{}</td></tr></table>"]
)
def test_html_in_div_form_or_table_without_menu_and_comments(tmp_path: Path, wrap: str) -> None:
    text = " ".join(f"<div>Sentence {n} of the story tells of a river and of its boats.</div>" for n in range(12))
    menu = "<nav><a href=/a>Home of all</a> <a href=/b>About us here</a></nav><div class=menu><a href=/c>More</a></div>"
    comments = "<div id=comments class=comments><div class=comment>Reader: I did not like it.</div></div>"
    page = f"<html><body>{menu}{wrap.format(text)}{comments}<footer>Copyright.</footer></body></html>"
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    found = read(tmp_path / "a.html").documents[0].text
    assert found.count("Sentence") == 12
    assert not any(word in found for word in ("Home", "About", "More", "Reader", "Copyright"))
    forum = "".join(f"<div class=comment>Reader {n} says that the river is wide.</div>" for n in range(30))
    (tmp_path / "b.html").write_text(f"<div>Topic: rivers.</div><div class=comments>{forum}</div>", encoding="utf-8")
    assert read(tmp_path / "b.html").documents[0].text.count("says") == 30


def test_html_without_main_content_falls_back_to_all_text(tmp_path: Path) -> None:
    (tmp_path / "a.htm").write_text("<div>Just five words of text.</div>", encoding="utf-8")
    assert read(tmp_path / "a.htm").documents[0].text == "Just five words of text."


@pytest.mark.parametrize(
    ("declared", "encoding", "text"),
    [
        ('<meta charset="iso-8859-2">', "iso-8859-2", "Zażółć gęślą jaźń, łódź."),
        ('<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">', "cp1251", "Старая река."),
        ('<meta charset="iso-8859-1">', "cp1252", "A “quoted” word – here."),
        ('<meta charset="gb2312">', "gb18030", "人人生而自由"),
        ('<meta charset="utf-8">', "cp1252", "Un café là."),  # it says what it is not
        ('<meta charset="windows-1252">', "utf-8", "Zażółć gęślą jaźń."),
        ('<meta charset="nonsense">', "utf-8", "Zażółć."),
    ],
)
def test_a_page_is_read_in_the_encoding_that_it_declares(
    tmp_path: Path, declared: str, encoding: str, text: str
) -> None:
    page = f"<html><head>{declared}</head><body><p>{text}</p></body></html>"
    (tmp_path / "a.html").write_bytes(page.encode(encoding))
    reading = read(tmp_path / "a.html")
    assert reading.documents[0].text == text
    assert len(reading.decoded) == (encoding != "utf-8")


ROWS = [
    {"text": "First text.", "label": "x", "name": "f", "signature": "f(a)", "summary": "Do it.", "more": 1},
    {"text": "Second text.", "label": 3},
]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_json_lines(tmp_path: Path, suffix: str) -> None:
    data = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    packed = {".jsonl": data, ".jsonl.gz": gzip.compress(data), ".jsonl.zst": zstandard.compress(data)}[suffix]
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(packed)
    reading = read(path)
    first, second = reading.documents
    assert (first.text, first.label, first.name, first.signature, first.summary) == (
        "First text.", "x", "f", "f(a)", "Do it.",
    )  # fmt: skip
    assert second.label == "3" and second.name is None
    assert reading.ignored == {"more": 1} and not reading.malformed


def test_malformed_lines_are_named_and_cost_only_themselves(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'{"text": "Good."}\n{"text": "cut\n\n[1, 2]\n{"txt": "no"}\n{"text": 5}\n{"text": "\xff"}\n{"text": "Last."}'
    )
    reading = read(path)
    assert [document.text for document in reading.documents] == ["Good.", "Last."]
    assert [(place.file, place.line) for place in reading.malformed] == [("rows.jsonl", n) for n in (2, 4, 5, 6, 7)]
    whys = [place.why for place in reading.malformed]
    assert whys[0].startswith("not JSON") and whys[1] == "not a JSON object" and "no 'text'" in whys[2]
    assert "not a string" in whys[3] and "not UTF-8" in whys[4]


def test_end_of_text_markers_do_not_enter_the_text_of_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "One.<|endoftext|>"}\n{"text": "[INST] a < b"}\n', encoding="utf-8")
    assert [document.text for document in read(tmp_path / "a.jsonl").documents] == ["One.", "[INST] a < b"]


def test_lone_surrogates_are_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "Good."}\n{"text": "bad \\ud800 half"}\n', encoding="utf-8")
    reading = read(tmp_path / "a.jsonl")
    assert [document.text for document in reading.documents] == ["Good."]
    assert reading.malformed[0].line == 2 and "surrogate" in reading.malformed[0].why


def test_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["One.", None], "label": ["a", "b"]}), tmp_path / "a.parquet")
    reading = read(tmp_path / "a.parquet")
    assert [document.label for document in reading.documents] == ["a"]
    assert [(place.line, place.why) for place in reading.malformed] == [(2, "no 'text'; it has: text, label")]
    pq.write_table(pa.table({"body": ["One."]}), tmp_path / "b.parquet")
    assert "it has: body" in read(tmp_path / "b.parquet").malformed[0].why


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"PAR1 not"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-12]),
        ("a.jsonl.zst", b"no"),
    ],
)
def test_damaged_files_are_listed(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    (place,) = read(tmp_path / name).malformed[-1:]
    assert place.line == 0 and "cannot be read" in place.why and str(tmp_path) not in place.why


@pytest.mark.parametrize(
    ("data", "how"),
    [
        (TEXT.encode("cp1252"), "read as cp1252 (guessed)"),
        (TEXT.encode("utf-16"), "read as utf-16-le"),
        (TEXT.encode("utf-16-be"), "read as utf-16-be"),
        (TEXT.encode("utf-8-sig"), None),
    ],
)
def test_other_encodings_are_read_and_named(tmp_path: Path, data: bytes, how: str | None) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    reading = read(tmp_path / "a.txt")
    assert [document.text for document in reading.documents] == [TEXT]
    assert reading.decoded == ([("a.txt", how)] if how else []) and not reading.malformed


def test_binary_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(bytes(range(256)) * 9)
    (place,) = read(tmp_path / "a.txt").malformed
    assert (place.file, place.line) == ("a.txt", 0) and place.why.startswith("is not text: it has NUL bytes")


@pytest.mark.parametrize("name", ["m.py", "m.rs", "lib/m.js", "m.sql.gz"])
def test_source_code_keeps_its_layout_and_says_its_kind(tmp_path: Path, name: str) -> None:
    code = "def f(a):\n    if a:\n        return 1\n\n\nclass B:\n    x = 2"
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(code.encode()) if name.endswith(".gz") else code.encode())
    (document,) = read(path).documents
    assert (document.text, document.kind) == (code.replace("\n\n\n", "\n\n"), "code")


CSV = 'id;text;label\n1;"Said ""so""; then\nleft.";a\n2;Plain text.;b\n'


def test_csv_with_its_own_delimiter_and_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV, encoding="utf-8")
    documents = read(tmp_path / "a.csv").documents
    assert [(one.text, one.label) for one in documents] == [('Said "so"; then\nleft.', "a"), ("Plain text.", "b")]


def test_csv_without_the_column_names_those_it_has(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("body,stars\nGood.,5\n", encoding="utf-8")
    (place,) = read(tmp_path / "a.csv").malformed
    assert place.why == "no column 'text'; it has: body, stars; name one in corpus.text_field"
    assert read(tmp_path / "a.csv", text_field="body", label_field="stars").documents[0].label == "5"


def test_an_open_quote_costs_its_own_row(tmp_path: Path) -> None:
    rows = [f"Row number {number}.,x" for number in range(300)]
    rows[100] = '"Row with an open quote.,x'
    (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    reading = read(tmp_path / "a.csv")
    assert len(reading.documents) == 299 and [place.line for place in reading.malformed] == [102]
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "\n".join(rows).replace(",", "\t"), encoding="utf-8")
    texts = [document.text for document in read(tmp_path / "a.tsv").documents]
    assert len(texts) == 300 and texts[100] == '"Row with an open quote.'


@pytest.mark.parametrize(
    "content",
    [
        '[{"text": "One."}, {"text": "Two."}]',
        '{"version": 1, "data": [{"text": "One."}, {"text": "Two."}]}',
        '["One.", "Two."]',
        '{"text": "One."}\n{"text": "Two."}\n',
    ],
)
def test_json_of_every_shape(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    assert [document.text for document in read(tmp_path / "a.json").documents] == ["One.", "Two."]


def test_notebook_gives_its_cells_without_outputs(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "Words of explanation."]},
        {"cell_type": "code", "source": "print(1)", "outputs": [{"text": "secret"}]},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    (document,) = read(tmp_path / "a.ipynb").documents
    assert document.text == "# Title\nWords of explanation.\n\nprint(1)" and document.kind == "text"
    (tmp_path / "b.ipynb").write_text("[1]", encoding="utf-8")
    assert "not a notebook" in read(tmp_path / "b.ipynb").malformed[0].why


DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/"><siteinfo><sitename>W</sitename></siteinfo>
<page><title>River</title><ns>0</ns><revision><text>{{Infobox|a={{b}}}} '''Rivers''' (&lt;!-- x --&gt;{{lang|la}}) are
[[Stream|streams]] of [[water]].&lt;ref name="a"&gt;Cited.&lt;/ref&gt; [[File:A.jpg|thumb|A [[boat]].]]
== Uses ==
* [https://example.org Boats] go.
{| class="wikitable"
| cell
|}
[[Category:Water]]</text></revision></page>
<page><title>Creek</title><ns>0</ns><redirect title="River"/>
<revision><text>#REDIRECT [[River]]</text></revision></page>
<page><title>Talk:River</title><ns>1</ns><revision><text>Hello.</text></revision></page></mediawiki>"""


@pytest.mark.parametrize("name", ["w.xml", "w.xml.bz2", "enwiki-articles1.xml-p10p30302.bz2"])
def test_wiki_dump_gives_articles_as_plain_text(tmp_path: Path, name: str) -> None:
    data = DUMP.encode()
    (tmp_path / name).write_bytes(bz2.compress(data) if name.endswith("bz2") else data)
    reading = read(tmp_path / name)
    (document,) = reading.documents
    assert document.name == "River"
    assert document.text.split() == ["Rivers", "are", "streams", "of", "water.", "Uses", "Boats", "go."]
    assert reading.skipped == {"wiki redirects": 1, "wiki pages outside the main namespace": 1}


def test_other_and_damaged_xml_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<feed><a>x</a></feed>", encoding="utf-8")
    assert "root feed" in read(tmp_path / "a.xml").malformed[0].why
    (tmp_path / "a.xml").write_text(DUMP[:-40], encoding="utf-8")
    reading = read(tmp_path / "a.xml")
    assert len(reading.documents) == 1 and "not XML" in reading.malformed[0].why


def test_one_sentence_a_line_gives_a_document_each_or_one_file_in_pieces(tmp_path: Path) -> None:
    lines = [f"This is sentence number {number} of the file." for number in range(1000)]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    each = read(tmp_path / "a.txt")
    assert [one.text for one in each.documents] == lines and each.boundaries == [("a.txt", "line", 1000, 1000)]
    assert all(one.whole is None for one in each.documents)
    documents = read(tmp_path / "a.txt", boundary="file").documents
    assert len(documents) > 15 and all(len(one.text) <= 2000 and one.kind == "lines" for one in documents)
    assert "\n".join(one.text for one in documents) == "\n".join(lines)
    assert len({one.whole for one in documents}) == 1 and documents[0].whole


def test_wrapped_paragraphs_are_not_taken_for_lines() -> None:
    wrapped = "\n".join(
        ["The river runs down to the harbour, where the", "boats lie and wait for the morning to come, and"] * 60
    )
    assert not is_lines(wrapped)
    assert is_lines("\n".join(["A man sleeps in a green room"] * 60))
    assert not is_lines("\n\n".join(["A man sleeps in a green room."] * 60))


def test_a_text_without_breaks_is_cut_at_sentences() -> None:
    sentence = "The river runs down to the harbour where the boats lie."
    parts = cut(" ".join([sentence] * 1000))
    assert len(parts) > 20 and all(len(part) <= 4000 and part.endswith("lie.") for part in parts)
    assert " ".join(parts).replace("\n", " ") == " ".join([sentence] * 1000)


def test_folder_is_walked_in_order_and_labels_by_first_folder(tmp_path: Path) -> None:
    for name in ("b.txt", "spam/deep/x.md", "ham/y.html", ".hidden/z.txt", "ham/skip.exe"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("Text.", encoding="utf-8")
    files = input_files(str(tmp_path))
    assert [(file.name, file.label) for file in files] == [
        ("b.txt", None), ("ham/y.html", "ham"), ("spam/deep/x.md", "spam"),
    ]  # fmt: skip
    assert other_files(str(tmp_path)) == {"files of unknown kind (.exe)": 1, "hidden files and folders": 1}


@pytest.mark.parametrize("name", ["a.txt", "a.html", "a.py", "a.md"])
def test_files_without_text_are_counted(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<p> </p>" if name == "a.html" else " \n", encoding="utf-8")
    assert [one.text for one in read(tmp_path / name).documents] == [""]


def test_links_are_followed_and_what_is_not_read_is_counted(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (elsewhere / "b.txt").write_text("Behind a link.", encoding="utf-8")
    (root / "a.txt").write_text("Here.", encoding="utf-8")
    (root / "linked").symlink_to(elsewhere)
    (root / "circle").symlink_to(root)
    (root / "dangling.txt").symlink_to(tmp_path / "nothing")
    assert [(file.name, file.label) for file in input_files(str(root))] == [("a.txt", None), ("linked/b.txt", "linked")]
    assert other_files(str(root)) == {"links to a folder that they lie in": 1, "broken links and special files": 1}


def test_a_file_that_cannot_be_opened_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Here.", encoding="utf-8")
    here = files_identity([InputFile(tmp_path / "a.txt", "a.txt", None)])
    gone = InputFile(tmp_path / "gone.txt", "gone.txt", None)
    assert "cannot be read" in read_file(gone, CorpusConfig()).malformed[0].why
    assert files_identity([InputFile(tmp_path / "a.txt", "a.txt", None), gone]) != here


def test_a_pointer_of_git_lfs_is_no_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    found = read(tmp_path / "a.txt")
    assert not found.documents and "Git LFS pointer" in found.malformed[0].why


def test_wrong_sources(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file or folder"):
        input_files(str(tmp_path / "nowhere"))
    (tmp_path / "a.exe").write_text("x")
    with pytest.raises(InputError, match="holds no file"):
        input_files(str(tmp_path))
    (tmp_path / "train.en").write_text("A line of text.")
    (file,) = input_files(str(tmp_path / "train.en"))
    assert read_file(file, CorpusConfig()).documents[0].text == "A line of text."


def test_hub_without_the_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match="pip install") as error:
        read_hub("hf:some/thing", "text", "label")
    assert error.value.exit_code == 2


def test_hub_rows_and_named_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    class Rows(list[dict[str, object]]):
        column_names = ("text", "label")
        features = types.MappingProxyType({"label": types.SimpleNamespace(names=["ham", "spam"])})

    asked: list[tuple[str, str]] = []

    def load(name: str, split: str) -> Rows:
        asked.append((name, split))
        return Rows([{"text": "One.", "label": 1}])

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load))
    (document,) = read_hub("hf:some/thing:test", "text", "label").documents
    assert (document.label, document.source, asked) == ("spam", "some/thing", [("some/thing", "test")])
    with pytest.raises(ConfigError, match="columns: text, label"):
        read_hub("hf:some/thing", "body", "label")
