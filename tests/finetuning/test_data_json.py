"""JSON as tools write it: columns, objects one after another, commas, keys given twice, parts of nested records."""

from __future__ import annotations

import json

import pytest

from tutelage.finetuning.data import read_conversations, read_labelled
from tutelage.store.errors import InputError

ROWS = [{"prompt": f"What is {n} and {n}?", "response": f"It is {2 * n}."} for n in range(4)]
LINES = [json.dumps(row) for row in ROWS]


def read(tmp_path, heard, name, content, columns=None):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_conversations(path, heard.log, columns)


def answers(rows):
    return [row["response"] for row in rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("jq.json", "\n".join(json.dumps(row, indent=2) for row in ROWS)),
        ("pandas.json", {name: {str(n): row[name] for n, row in enumerate(ROWS)} for name in ROWS[0]}),
        ("split.json", {"columns": ["prompt", "response"], "data": [[*row.values()] for row in ROWS]}),
        ("lists.json", {name: [row[name] for row in ROWS] for name in ROWS[0]}),
        ("by_id.json", {f"row {n}": row for n, row in enumerate(ROWS)}),
        ("nested.json", {"data": {"train": ROWS}}),
        ("commas.jsonl", ",\n".join(LINES)),
        ("brackets.jsonl", "[" + ",\n".join(LINES) + "]"),
        ("cut_array.jsonl", "[\n" + ",\n".join(LINES) + ",\n"),
        ("python.jsonl", "\n".join(map(str, ROWS))),
        ("last_comma.json", "[" + ",\n".join(LINES) + ",\n]"),
        ("last_commas.json", "[" + ",".join(line[:-1] + ", }" for line in LINES) + "]"),
        ("last_commas.jsonl", "\n".join(line[:-1] + ",}" for line in LINES)),
        ("bom.jsonl", "\ufeff" + "\n".join(LINES)),
    ],
)  # fmt: skip
def test_records_are_found_however_they_are_arranged(name, content, tmp_path, heard):
    rows, audit = read(tmp_path, heard, name, content)
    assert answers(rows) == [row["response"] for row in ROWS] and audit.dropped == {}


def test_lines_that_are_read_although_they_are_no_json_are_said(tmp_path, heard):
    _, audit = read(tmp_path, heard, "x.jsonl", f"{LINES[0]},\n{ROWS[1]}\n{LINES[2]}\n{{half\n")
    assert "1 line end in a comma" in audit.warnings[0] and "1 line are written as Python" in audit.warnings[1]
    assert audit.dropped == {"not JSON": 1}


@pytest.mark.parametrize("name", ["x.jsonl", "x.json"])
def test_a_key_given_twice_is_said(name, tmp_path, heard):
    twice = [line.replace('"response"', '"response": "lost", "response"') for line in LINES[:2]]
    content = "\n".join(twice + LINES[2:]) if name == "x.jsonl" else "[" + ",\n".join(twice + LINES[2:]) + "]"
    rows, audit = read(tmp_path, heard, name, content)
    assert "lost" not in answers(rows)
    assert audit.warnings == ("a key stands twice in one object ('response': 2 times); the last value is read",)


def test_lists_of_texts_by_label_are_no_columns(tmp_path, heard):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"spam": ["a", "b"], "ham, which is a label with a long name": ["c", "d"]}))
    with pytest.raises(InputError, match="no array of records") as error:
        read_labelled(path, heard.log)
    assert "'" not in error.value.hint and "ham, which is a label with a l..." in error.value.hint


def test_parts_of_nested_records_are_named_by_their_path(tmp_path, heard):
    nested = [{"fields": {"q": row["prompt"], "other": 1}, "said": [{"value": row["response"]}]} for row in ROWS]
    with pytest.raises(InputError) as error:
        read(tmp_path, heard, "x.json", nested)
    assert "'fields.q'" in str(error.value) and "'said.0.value'" in str(error.value)
    assert "--column prompt=NAME" in error.value.hint
    rows, audit = read(tmp_path, heard, "x.json", nested, {"prompt": "fields.q", "response": "said.0.value"})
    assert answers(rows) == [row["response"] for row in ROWS] and audit.ignored == {}
    with pytest.raises(InputError, match=r"no column 'fields\.none'"):
        read(tmp_path, heard, "x.json", nested, {"prompt": "fields.none", "response": "said.0.value"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
        ("<!DOCTYPE html>\n<html><body>Not found</body></html>\n", "a web page"),
        ('[{"prompt": "a", "response": "b"},,\n]', "not JSON"),
    ],
)
def test_what_is_no_data_is_named(content, said, tmp_path, heard):
    with pytest.raises(InputError, match=said) as error:
        read(tmp_path, heard, "x.json", content)
    assert error.value.hint


def test_numbers_and_yes_or_no_are_answers_but_nothing_is_none(tmp_path, heard):
    given = [5, 5.0, 2.5, True, float("nan"), "\u200b\ufeff", " "]
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"prompt": f"question {n}", "response": value} for n, value in enumerate(given)]))
    rows, audit = read_conversations(path, heard.log)
    assert answers(rows) == ["5", "5", "2.5", "true"]
    assert audit.dropped == {"'response' is empty or not text": 3}


def test_commas_before_brackets_are_left_out_of_no_text_and_said(tmp_path, heard):
    rows, audit = read(tmp_path, heard, "x.json", '[{"prompt": "a,]", "response": "b, }"},]')
    assert (rows[0]["prompt"], rows[0]["response"]) == ("a,]", "b, }")
    assert any("comma" in warning for warning in audit.warnings)


@pytest.mark.parametrize("content", ['[{"prompt": "a", "response": "b', '[{"prompt": "a", "response": "b"}', "[1, 2,"])
def test_a_file_that_is_cut_short_is_called_so(content, tmp_path, heard):
    with pytest.raises(InputError) as error:
        read(tmp_path, heard, "x.json", content)
    assert "cut short" in error.value.hint


def test_text_that_is_named_parquet_is_none(tmp_path, heard):
    with pytest.raises(InputError, match="is not Parquet"):
        read(tmp_path, heard, "x.parquet", "prompt,response\na,b\n")
