"""Tables, JSON and Parquet as people have them: nothing is swallowed, cut or mixed up without a word."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.finetuning.data import read_conversations, read_labelled
from tutelage.finetuning.data.tables import find_delimiter, has_header, parse, read_table
from tutelage.store.errors import ConfigError, InputError

ROWS = [(f"The lamp number {i} is {'fine' if i % 2 else 'bad'}", "pos" if i % 2 else "neg") for i in range(40)]


def table(rows, delimiter, end="\n", header=("text", "label")):
    return end.join(delimiter.join(row) for row in [header, *rows]) + end


def read(tmp_path, heard, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_labelled(path, heard.log)


@pytest.mark.parametrize(
    ("name", "content", "format", "encoding"),
    [
        ("a.csv", table(ROWS, ","), "CSV", "ascii"),
        ("a.tsv", table(ROWS, "\t", "\r\n"), "TSV", "ascii"),
        ("a.csv", table(ROWS, ";"), "CSV with semicolons", "ascii"),
        ("a.csv", "sep=;\r\n" + table(ROWS, ";", "\r\n"), "CSV with semicolons", "ascii"),
        ("a.txt", table(ROWS, "|"), "CSV with pipes", "ascii"),
        ("a.csv", table(ROWS, "\t"), "TSV", "ascii"),
        ("a.csv", table(ROWS, ",", "\r"), "CSV", "ascii"),
        ("a.csv", table(ROWS, ",").encode("utf-16"), "CSV", "utf-16-le"),
        ("a.csv", b"\xef\xbb\xbf" + table(ROWS, ",").encode(), "CSV", "utf-8"),
        ("a.csv.gz", gzip.compress(table(ROWS, ",").encode()), "CSV", "ascii"),
        ("a.tsv.zst", zstandard.compress(table(ROWS, "\t").encode()), "TSV", "ascii"),
        ("a.json", json.dumps([{"text": t, "label": y} for t, y in ROWS]), "JSON array", "ascii"),
        ("a.jsonl", json.dumps([{"text": t, "label": y} for t, y in ROWS]), "JSON array", "ascii"),
        ("a.json", "\n".join(json.dumps({"text": t, "label": y}) for t, y in ROWS), "JSON lines", "utf-8"),
        ("a.json", json.dumps({"v": 1, "data": [{"text": t, "label": y} for t, y in ROWS]}), "JSON array under 'data'",
         "ascii"),
        ("a.json", json.dumps({"train": [{"text": t, "label": y} for t, y in ROWS]}, indent=1),
         "JSON array under 'train'", "ascii"),
    ],
)  # fmt: skip
def test_the_same_rows_from_every_kind_of_file(name, content, format, encoding, tmp_path, heard):
    rows, audit = read(tmp_path, heard, name, content)
    assert [(row["text"], row["label"]) for row in rows] == ROWS
    assert audit.format == f"{format}, 40 as text,label" and audit.encoding == encoding
    assert (audit.rows, audit.kept, audit.dropped, audit.ignored) == (40, 40, {}, {})
    assert f"{format}, 40 as text,label ({encoding})" in heard.messages("note")


def test_parquet(tmp_path, heard):
    pq.write_table(pa.table({"review": [t for t, _ in ROWS], "stars": [1.0, 2.0] * 20}), tmp_path / "a.parquet")
    rows, audit = read_labelled(tmp_path / "a.parquet", heard.log)
    assert [row["text"] for row in rows] == [text for text, _ in ROWS]
    assert audit.labels == {"1": 20, "2": 20} and audit.unit == "row"


def test_one_byte_encodings_are_read_and_said(tmp_path, heard):
    rows, audit = read(tmp_path, heard, "a.csv", "text,label\ncafé au lait,a\nthé,b\n".encode("cp1252"))
    assert [row["text"] for row in rows] == ["café au lait", "thé"]
    assert audit.encoding == "cp1252" and "guessed" in heard.messages("warning")


def test_an_opening_quote_swallows_nothing_and_is_named(tmp_path, heard):
    lines = [f"{label}\t{text}" for text, label in ROWS]
    lines[19] = 'pos\t"Best lamp ever, she said.'
    rows, audit = read(tmp_path, heard, "a.tsv", "label\ttext\n" + "\n".join(lines) + "\n")
    assert len(rows) == audit.rows == 40 and rows[19]["text"] == '"Best lamp ever, she said.'
    assert "read as text in 1 line (line 21)" in heard.messages("warning")


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_quote_that_closes_some_rows_below_swallows_nothing(delimiter, tmp_path, heard):
    rows = [*ROWS]
    rows[10], rows[14] = ('"Best lamp', "pos"), ('A screen of 2.5"', "neg")
    content = table([(label, text) for text, label in rows], delimiter, header=("label", "text"))
    found, audit = read(tmp_path, heard, "a.csv", content)
    assert [row["text"] for row in found] == [text for text, _ in rows] and audit.rows == 40
    assert "line 12" in heard.messages("warning")


def test_a_quoted_text_may_span_lines_and_hold_delimiters(tmp_path, heard):
    text = 'Dear friend,\n\nI came, I saw, I "won".\nYours, Jo'
    content = table(ROWS[:6], ",") + '"' + text.replace('"', '""') + '",pos\n'
    rows, audit = read(tmp_path, heard, "a.csv", content)
    assert rows[-1]["text"] == text and audit.kept == 7 and not audit.warnings


cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('",;\t|\n'), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(cells, min_size=1, max_size=6))
def test_what_python_writes_quoted_is_read_back(texts):
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows(
        [["label", "text"], *([f"unseen {i}", text.replace("\n", " \n ")] for i, text in enumerate(texts))]
    )
    table = read_table(out.getvalue(), "a.csv", {"text", "label"})
    wanted = [text.replace("\n", " \n ") for text in texts]
    odd = any(text.count(",") for text in wanted for text in text.split("\n")[1:])  # may read like rows
    assert odd or [row["text"] for _, row in table.records] == wanted


def test_a_nul_drops_its_row_and_is_named(tmp_path, heard):
    content = table(ROWS, ",").encode() + b"bad\0text,pos\n"
    rows, audit = read(tmp_path, heard, "a.csv", content)
    assert len(rows) == 40 and audit.dropped == {"it has a NUL character: it is damaged": 1}
    assert audit.examples == {"it has a NUL character: it is damaged": [42]}


def test_damaged_utf8_drops_its_row(tmp_path, heard):
    content = "text,label\nmotörhead über,a\nöl,b\n".encode() + b"\xff,b\n"
    rows, audit = read(tmp_path, heard, "a.csv", content)
    assert len(rows) == 2 and audit.examples == {"not UTF-8": [4]} and "line 4: not UTF-8" in heard.messages("warning")


def test_rows_with_too_many_fields_are_dropped_and_counted(tmp_path, heard):
    rows, audit = read(tmp_path, heard, "a.csv", table([*ROWS, ("I came, saw", "pos")], ","))
    assert len(rows) == 40 and audit.dropped == {"more fields than the header": 1}


def test_a_file_without_header_says_which_column_is_what(tmp_path, heard):
    content = "\n".join(f"{label}\t{text}" for text, label in ROWS)
    rows, _ = read(tmp_path, heard, "a.tsv", content)
    assert [(row["text"], row["label"]) for row in rows] == ROWS
    assert "column 1 is read as the label, column 2 as the text" in heard.messages("note")


def test_a_label_that_is_a_known_name_is_no_header():
    assert not has_header(
        [["question", "Why?"], ["answer", "So."], ["question", "Who?"], ["question", "X"]], {"question"}
    )
    assert has_header([["text", "label"], ["a", "b"], ["c", "label"]], {"text", "label"})
    assert has_header([["body", "stars"], ["a", "5"], ["b", "5"]], {"text", "label"})


def test_known_names_outweigh_the_commas_of_prose():
    lines = ["text;label", "well, yes;a", "no, not;b", "hm, no;a"]
    assert find_delimiter(lines, {"text", "label"}, "a.csv") == ";"
    assert parse(["a,b", "c"], ",", 0) == ([(1, ["a", "b"]), (2, ["c"])], [])


def test_columns_are_named_and_wrong_names_are_errors(tmp_path, heard):
    path = tmp_path / "a.csv"
    path.write_text(table(ROWS, ",", header=("body", "kind")))
    with pytest.raises(InputError, match="cannot be told from 'body', 'kind'") as error:
        read_labelled(path, heard.log)
    assert "--column label=NAME" in str(error.value)
    rows, audit = read_labelled(path, heard.log, {"text": "Body", "label": "kind"})
    assert len(rows) == 40 and audit.ignored == {}
    with pytest.raises(InputError, match=r"no column 'bodi'.*'body'"):
        read_labelled(path, heard.log, {"text": "bodi", "label": "kind"})
    with pytest.raises(ConfigError, match=r"'txt'.*'text'"):
        read_labelled(path, heard.log, {"txt": "body"})
    path.write_text("Q1?,A1\nQ2?,A2\n")
    pairs, _ = read_conversations(path, heard.log, {"prompt": "1", "response": "2"})
    assert [row["response"] for row in pairs] == ["A1", "A2"]


@pytest.mark.parametrize("order", [("text", "label", "stars"), ("stars", "label", "text")])
def test_a_named_column_stands_for_one_that_has_our_name(order, tmp_path, heard):
    path = tmp_path / "x.jsonl"
    records = [{"text": f"text {i}", "label": "x", "stars": str(i % 2)} for i in range(4)]
    path.write_text("\n".join(json.dumps({name: record[name] for name in order}) for record in records))
    rows, audit = read_labelled(path, heard.log, {"label": "stars"})
    assert [row["label"] for row in rows] == ["0", "1", "0", "1"]
    assert audit.ignored == {"label": 4}


def test_of_two_usual_names_the_one_that_is_said_is_read(tmp_path, heard):
    rows, audit = read(tmp_path, heard, "a.csv", "text,label,label_name\none,0,neg\ntwo,1,pos\n")
    assert [row["label"] for row in rows] == ["neg", "pos"]
    assert audit.ignored == {"label": 2} and "label is 'label_name'" in heard.messages("note")


def test_a_quote_after_a_space_opens_a_field_too(tmp_path, heard):
    rows, audit = read(tmp_path, heard, "a.csv", 'label, text\na, "one, two"\nb, "three"\nc, four "five"\n')
    assert [row["text"] for row in rows] == ["one, two", "three", 'four "five"']
    assert not audit.dropped and not audit.warnings


def test_json_that_is_damaged_in_one_line_costs_that_line(tmp_path, heard):
    good = json.dumps({"text": "second\u2028line\u000b", "label": "a"})
    deep = '{"text": "x", "label": ' + '{"a": ' * 5000 + "1" + "}" * 5001
    nested = '{"text": "x", "label": "a", "meta": ' + "[" * 80 + "]" * 80 + "}"
    half = '{"text": "Great \\ud83d", "label": "a"}'
    content = "\n".join(["oops", good, half, deep, nested, "[1]", '{"text": "y", "label": NaN}'])
    rows, audit = read(tmp_path, heard, "a.jsonl", content)
    assert [row["text"] for row in rows] == ["second\u2028line"]
    assert audit.rows == 7 == audit.kept + sum(audit.dropped.values())
    places = {line: reason for reason, lines in audit.examples.items() for line in lines}
    assert set(places) == {1, 3, 4, 5, 6, 7}
    assert "surrogate" in places[3] and places[4] == places[5] == "nested too deep" and places[6] == "not an object"


def test_text_that_no_file_can_hold_is_dropped_from_an_array_too(tmp_path, heard):
    half = "caf" + chr(92) + "ud83d"
    content = f'[{{"text": "{half}", "label": "a"}}, {{"text": "b", "label": "b"}}]'
    rows, audit = read(tmp_path, heard, "a.json", content)
    assert [row["text"] for row in rows] == ["b"] and list(audit.examples.values()) == [[1]]
    assert "row 1: holds one half of a surrogate pair" in heard.messages("warning")


values = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", " ", "a", "b", "A"]) | st.just(["a", "b"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(
    st.lists(st.dictionaries(st.sampled_from(["text", "label", "note"]), values) | st.just(3), min_size=1, max_size=9)
)
def test_every_row_is_kept_or_dropped_for_one_reason(tmp_path, heard, records):
    try:
        rows, audit = read(tmp_path, heard, "a.json", json.dumps(records))
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert audit.rows == len(records) == audit.kept + sum(audit.dropped.values())
    assert audit.kept == len(rows) == sum(audit.labels.values()) and set(audit.examples) == set(audit.dropped)
    assert audit.ignored.get("note", 0) <= audit.kept


def test_fields_with_the_same_name_are_not_mixed_up(tmp_path, heard):
    rows, audit = read(tmp_path, heard, "a.csv", ",text,text,label\n1,yes,no,a\n2,ja,nein,b\n")
    assert [row["text"] for row in rows] == ["yes", "ja"]
    assert audit.ignored == {"(column 1)": 2, "text (3)": 2}
    assert "'text (3)' in 2 rows" in heard.messages("warning")


def test_a_header_that_comes_again_is_no_row(tmp_path, heard):
    rows, audit = read(tmp_path, heard, "a.csv", table(ROWS[:20], ",") + table(ROWS[20:], ","))
    assert len(rows) == 40 and audit.dropped == {"the header again": 1} and set(audit.labels) == {"pos", "neg"}
