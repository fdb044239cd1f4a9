"""Every kind of file is read; what cannot be read is named with file and line, never lost in silence."""

from __future__ import annotations

import gzip
import json
import sys
import types
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tutelage.corpus.hub import read_hub
from tutelage.corpus.passages import cut
from tutelage.corpus.readers import input_files, read_file
from tutelage.corpus.rows import InputFile, Reading
from tutelage.store.errors import ConfigError, InputError


def read(path: Path, label: str | None = None) -> Reading:
    return read_file(InputFile(path, path.name, label), "text", "label")


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


def test_html_without_main_content_falls_back_to_all_text(tmp_path: Path) -> None:
    (tmp_path / "a.htm").write_text("<div>Just five words of text.</div>", encoding="utf-8")
    assert read(tmp_path / "a.htm").documents[0].text == "Just five words of text."


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


def test_lone_surrogates_cannot_reach_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "bad \\ud800 half", "name": "\\udfff"}\n', encoding="utf-8")
    (document,) = read(tmp_path / "a.jsonl").documents
    assert document.text.encode("utf-8") and document.name == "\ufffd"


def test_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["One.", None], "label": ["a", "b"]}), tmp_path / "a.parquet")
    reading = read(tmp_path / "a.parquet")
    assert [document.label for document in reading.documents] == ["a"]
    assert [(place.line, place.why) for place in reading.malformed] == [(2, "no 'text'")]
    pq.write_table(pa.table({"body": ["One."]}), tmp_path / "b.parquet")
    assert "it has: body" in read(tmp_path / "b.parquet").malformed[0].why


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"PAR1 not"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99)[:-12]),
        ("a.jsonl.zst", b"no"),
    ],
)
def test_damaged_files_are_listed(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    (place,) = read(tmp_path / name).malformed[-1:]
    assert place.line == 0 and "cannot be read" in place.why and str(tmp_path) not in place.why


def test_not_utf8_is_named_with_its_byte(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc \xe9 def")
    (place,) = read(tmp_path / "a.txt").malformed
    assert place.why == "not UTF-8 at byte 4"


def test_folder_is_walked_in_order_and_labels_by_first_folder(tmp_path: Path) -> None:
    for name in ("b.txt", "spam/deep/x.md", "ham/y.html", ".hidden/z.txt", "ham/skip.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("Text.", encoding="utf-8")
    files = input_files(str(tmp_path))
    assert [(file.name, file.label) for file in files] == [
        ("b.txt", None), ("ham/y.html", "ham"), ("spam/deep/x.md", "spam"),
    ]  # fmt: skip


def test_wrong_sources(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file or folder"):
        input_files(str(tmp_path / "nowhere"))
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(ConfigError, match="no kind of file"):
        input_files(str(tmp_path / "a.csv"))
    with pytest.raises(InputError, match="holds no file"):
        input_files(str(tmp_path))


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
