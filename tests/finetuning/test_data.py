from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.finetuning.data import (
    read_conversations,
    read_labelled,
    read_preferences,
    read_rows,
    split,
    write_rows,
)
from tutelage.store.errors import InputError


def lines(path, records):
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n", encoding="utf-8")
    return path


def test_labelled_csv_with_quotes_and_case_of_header(tmp_path, heard):
    path = tmp_path / "mine.csv"
    path.write_bytes('\ufeffLabel,Text\nham,"Hello, ""you""\nthere"\nspam,Win now\n'.encode())
    rows, _ = read_labelled(path, heard.log)
    found = [(row["text"], row["label"]) for row in rows]
    assert found == [('Hello, "you"\nthere', "ham"), ("Win now", "spam")]
    assert "2 as text,label" in heard.messages("note")


def test_labelled_jsonl_counts_malformed_lines_with_their_numbers(tmp_path, heard):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(
        b'{"text": "a b", "label": 1}\n\nnot json\n{"text": "c"}\n{"text": "\xff", "label": "x"}\n'
        b'{"text": "", "label": "x"}\n{"text": "a b", "label": 1}\n'
    )
    rows, _ = read_labelled(path, heard.log)
    assert [(row["text"], row["label"]) for row in rows] == [("a b", "1")]
    warning = heard.messages("warning")
    assert "5 of 6 rows dropped" in warning
    for part in (
        "line 3: not JSON",
        "line 4: no 'label'",
        "line 5: not UTF-8",
        "line 6: 'text' is empty",
        "line 7: exact duplicate",
    ):
        assert part in warning


QUESTION, ANSWER = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}
HUMAN, GPT = {"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"prompt": "Q", "response": "A"}, "prompt/response"),
        ({"prompt": "Q", "completion": "A"}, "prompt/response"),
        ({"instruction": "Q", "output": "A"}, "alpaca"),
        ({"instruction": "Q", "input": "  ", "output": "A"}, "alpaca"),
        ({"messages": [QUESTION, ANSWER]}, "messages"),
        ({"conversations": [HUMAN, GPT]}, "conversations"),
    ],
)
def test_every_layout_becomes_the_same_row(record, kind, tmp_path, heard):
    (row,), _ = read_conversations(lines(tmp_path / "x.jsonl", [record]), heard.log)
    assert (row["prompt"], row["response"]) == ("Q", "A") and row["messages"] == [QUESTION, ANSWER]
    assert row["id"] == "c41360d7e9a78798"
    assert f"1 as {kind}" in heard.messages("note")


def test_alpaca_input_is_part_of_the_prompt(tmp_path, heard):
    record = {"instruction": "Translate.", "input": "Hallo", "output": "Hello"}
    (row,), _ = read_conversations(lines(tmp_path / "x.jsonl", [record]), heard.log)
    assert row["prompt"] == "Translate.\nHallo"


def test_longer_conversations_keep_every_turn_up_to_the_last_answer(tmp_path, heard):
    roles = ["system", "user", "assistant", "user", "assistant", "user"]
    contents = ["S", "Q1", "A1", "Q2", "A2", "Q3"]
    turns = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
    record = {"messages": turns}
    (row,), _ = read_conversations(lines(tmp_path / "x.jsonl", [record]), heard.log)
    assert (row["prompt"], row["response"]) == ("Q2", "A2")
    assert [message["content"] for message in row["messages"]] == ["S", "Q1", "A1", "Q2", "A2"]


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [{"role": "user", "content": "Q"}]},
        {"messages": [{"role": "assistant", "content": "A"}]},
        {"messages": [{"role": "robot", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        {"messages": "Q"},
        {"prompt": "Q"},
        {"prompt": "Q", "response": " "},
        {"prompt": ["Q"], "response": "A"},
    ],
)
def test_a_conversation_without_question_and_answer_is_malformed(record, tmp_path, heard):
    good = {"prompt": "Q", "response": "A"}
    assert len(read_conversations(lines(tmp_path / "x.jsonl", [good, record]), heard.log)[0]) == 1
    assert "line 2" in heard.messages("warning")


def test_preferences(tmp_path, heard):
    records = [
        {"prompt": "Q", "chosen": "A", "rejected": "B"},
        {"prompt": "Q", "chosen": "A", "rejected": "A"},
        {"prompt": "Q", "chosen": "A"},
    ]
    (row,), audit = read_preferences(lines(tmp_path / "x.jsonl", records), heard.log)
    assert (row["prompt"], row["chosen"], row["rejected"]) == ("Q", "A", "B")
    assert audit.dropped == {"'chosen' and 'rejected' are equal": 1, "no 'rejected'": 1}


def test_a_json_array_is_read_as_well(tmp_path, heard):
    path = tmp_path / "x.json"
    path.write_text('[{"prompt": "Q", "response": "A"}, 3]', encoding="utf-8")
    assert len(read_conversations(path, heard.log)[0]) == 1
    assert "row 2: not an object" in heard.messages("warning")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.jsonl", b"", "empty"),
        ("x.jsonl", b"{}\n", "no 'text'"),
        ("x.csv", b"a,b\n1,2\n", "no 'text'"),
        ("x.csv", b"text,label\n", "nothing below"),
        ("x.json", b"[" * 100_000, "nested too deep"),
        ("x.parquet", b"PAR1 cut short", "Parquet"),
        ("x.csv.gz", b"\x1f\x8b\x08 cut short", "cannot be read"),
        ("x.json", b'{"text": "a"}', "array"),
        ("x.zip", b"PK", "unknown kind"),
    ],
)
def test_unusable_files_are_one_clear_error(name, content, said, tmp_path, heard):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_labelled(path, heard.log)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_missing_file(tmp_path, heard):
    with pytest.raises(InputError, match="No such file"):
        read_labelled(tmp_path / "none.csv", heard.log)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=2, unique=True))
def test_split_keeps_prompts_together_and_ignores_the_order(pairs):
    rows = [{"id": f"{a}-{b}", "prompt": f"q{a}", "response": str(b)} for a, b in pairs]
    if len({row["prompt"] for row in rows}) < 2:
        with pytest.raises(InputError):
            split(rows, 0)
        return
    train, held = split(rows, 0)
    assert train and held and len(train) + len(held) == len(rows)
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in held}
    assert split(rows[::-1], 0) == (train, held)


def test_rows_survive_the_file(tmp_path):
    rows = [{"id": "1", "text": "line\u2028separator \x85 and ü"}, {"id": "2", "text": "x"}]
    write_rows(tmp_path / "data" / "rows.jsonl", rows)
    assert read_rows(tmp_path / "data" / "rows.jsonl") == rows
    with (tmp_path / "data" / "rows.jsonl").open("a") as file:
        file.write('{"id": "3", "te')
    with pytest.raises(InputError, match="line 3: not JSON"):
        read_rows(tmp_path / "data" / "rows.jsonl")
