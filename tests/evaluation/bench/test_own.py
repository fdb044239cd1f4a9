"""Own rows as a task: choices in every usual layout, and a right answer that is never read in the wrong way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tutelage.evaluation.bench.items import prepare
from tutelage.evaluation.bench.own import own_task
from tutelage.store.errors import ConfigError, InputError


def golds(path: Path, **columns: str) -> list[int]:
    return [item.gold[0] for item in prepare(own_task(path, **columns), []).items]


def lines(folder: Path, records: list[dict[str, Any]]) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def asked(choices: Any, *answers: Any) -> list[dict[str, Any]]:
    return [{"question": f"q {i}", "choices": choices, "answer": answer} for i, answer in enumerate(answers)]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (asked(["x", "y", "z"], 0, 2, 1), [0, 2, 1]),
        (asked(["x", "y", "z"], 1, 3, 2), [0, 2, 1]),  # counts from 1
        (asked(["x", "y", "z"], "1", "3", "2"), [0, 2, 1]),
        (asked(["x", "y", "z"], "b", " C ", "a"), [1, 2, 0]),
        (asked(["x", "y", "z"], "(B)", "C.", "a)"), [1, 2, 0]),
        (asked(["Xy", "Z "], "xy ", "z"), [0, 1]),  # but for case and outer white space
        (asked({"A": "x", "B": "y", "C": "z"}, "B", "C", "A"), [1, 2, 0]),
        (asked({"A": "x", "B": "y"}, "y", "x"), [1, 0]),
        (asked(["5", "7", "9"], 7, 5, 9), [1, 0, 2]),  # numbers that are the choices' texts
        (asked([1, 2, 3], 1, 3, 2), [0, 2, 1]),
        (asked(["1", "2", "3"], "1", "2", "1"), [0, 1, 0]),
        (asked([0, 1], 1, 0), [1, 0]),
        (asked({"text": ["x", "y"], "label": ["A", "B"]}, "B", "A"), [1, 0]),  # as ARC has it
        (asked({"text": ["x", "y"], "label": ["1", "2"]}, "1", "2"), [0, 1]),
        ([{"question": "q", "A": "x", "B": "y", "C": "z", "answer": letter} for letter in "CAB"], [2, 0, 1]),
        ([{"sentence": "q", "option1": "x", "option2": "y", "answer": number} for number in "21"], [1, 0]),
        ([{"goal": "q", "sol1": "x", "sol2": "y", "label": number} for number in (0, 1)], [0, 1]),
    ],
)
def test_the_right_choice_is_found(records: list[dict[str, Any]], expected: list[int], tmp_path: Path):
    assert golds(lines(tmp_path, records)) == expected


def test_a_number_that_may_be_text_or_place_is_asked_about(tmp_path: Path):
    path = lines(tmp_path, asked(["1", "2", "3"], 1, 2, 1))
    with pytest.raises(InputError, match=r'may be the text .* --gold "answer\|string"'):
        own_task(path)
    assert golds(path, gold="answer|string") == [0, 1, 0]
    assert golds(path, gold="answer|int") == [1, 2, 1]


def test_what_is_odd_about_the_choices_is_said(tmp_path: Path):
    assert own_task(lines(tmp_path, asked(["x", "y", "x"], 0, 1))).cautions == (
        "2 of 2 rows have the same choice twice; the first one counts",
    )
    assert own_task(lines(tmp_path, asked(["x", "y", "z"], 1, 3))).cautions == ("'answer' counts the choices from 1",)
    odd = own_task(lines(tmp_path, asked(["x", "y", "z"], *[1] * 12)))
    assert odd.cautions == ("the first choice is never the right answer: 'answer' is read as an index from 0",)
    written = own_task(lines(tmp_path, [{"question": "q", "answer": "a", "hint": "h"}]))
    assert written.cautions == ("unused columns: hint",)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([*asked(["x", "y"], 0), {"question": None, "choices": ["x", "y"], "answer": 0}], "have no 'question' .row 2"),
        ([*asked(["x", "y"], 0), {"question": "q", "choices": ["x", "y"], "answer": None}], "have no 'answer' .row 2"),
        ([{"question": "q", "choices": ["x", "y"]}, *asked(["x", "y"], 0)], "have no 'answer' .row 1"),
        ([*asked(["x", "y"], 0), {"question": "q", "answer": 0}], "row 2: 'choices' fails on this row"),
        (asked(["x", "y"], 0, 2), "row 2: 'answer' is 2, which is none of its 2 choices: 'x', 'y'"),
        (asked(["x", "y"], "A", "C"), "row 2: 'answer' is 'C', which is none of its 2 choices"),
        (asked(["x", "y"], "x", "w"), "row 2: 'answer' is 'w', which is none of its 2 choices"),
        (asked(["x", "y", " "], 0), "row 1: a choice is empty"),
        ([{"question": "q", "A": "x", "B": "", "C": "z", "answer": "A"}], "row 1: an empty choice stands before"),
        ([{"question": "q", "answer": {"value": 1}}, {"question": "q", "answer": {"text": "x"}}], "is an object with"),
        ([*asked(["x", "y"], 0), *asked(["x"], 0)], "row 2: 'choices' does not evaluate to a list"),
        (asked("x, y", 0), "does not evaluate to a list of two or more choices"),
    ],
)
def test_a_row_that_lacks_something_is_named(records: list[dict[str, Any]], message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        prepare(own_task(lines(tmp_path, records)), [])


def test_a_table_row_with_too_many_fields_is_named(tmp_path: Path):
    path = tmp_path / "mine.csv"
    path.write_text("question,a,b,answer\nq,x,y,A\nq,x,y, z,A\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 3 has more fields than the header"):
        own_task(path)


@pytest.mark.parametrize(
    ("name", "content", "encoding"),
    [
        ("a.csv", "Question;a;b;Answer\nq 1;x;y;B\nq 2;x;y;A\n", "utf-8"),
        ("a.csv", "question;a;b;answer\r\nq 1;x;y;B\r\nq 2;x;y;A\r\n", "utf-16"),
        ("a.tsv", "question,a,b,answer\nq é,x,y,B\nq 2,x,y,A\n", "cp1252"),
        ("a.csv", "question|a|b|answer\nq 1|x|y|B\nq 2|x|y|A\n", "utf-8"),
        ("a.psv", "question|a|b|answer\nq 1, or|x|y|B\nq 2|x|y|A\n", "utf-8"),
        ("a.csv", "sep=;\r\nquestion;a;b;answer\r\nq 1;x;y;B\r\nq 2;x;y;A\r\n", "utf-8"),
        ("a.csv", "question,A,B,C,answer\nq 1,x,y,z,B\nq 2,x,y,,A\n", "utf-8"),  # a row with fewer choices
        ("a.csv", "question,choices,answer\nq 1,\"['x', 'y']\",1\nq 2,\"['x', 'y']\",0\n", "utf-8"),
        ("a.json", json.dumps({"version": 1, "data": asked(["x", "y"], 1, 0)}), "utf-8"),
        ("a.json", json.dumps({"title": "mine", "questions": asked(["x", "y"], 1, 0)}), "utf-8"),
        ("a.json", "\n".join(map(json.dumps, asked(["x", "y"], 1, 0))), "utf-8"),
    ],
)
def test_tables_as_spreadsheets_write_them(name: str, content: str, encoding: str, tmp_path: Path):
    path = tmp_path / name
    path.write_bytes(content.encode(encoding))
    assert golds(path) == [1, 0]


def test_an_instruction_is_asked_with_its_input_and_an_empty_question_is_refused(tmp_path: Path):
    records = [{"instruction": f"Add {n}.", "input": more, "output": "x"} for n, more in enumerate(["to 3", ""])]
    contexts = [item.ask.prompt for item in prepare(own_task(lines(tmp_path, records)), []).items]
    assert contexts == ["Add 0.\nto 3", "Add 1."]
    with pytest.raises(InputError, match="1 of 2 rows have no 'question'"):
        own_task(lines(tmp_path, [{"question": "q", "answer": "x"}, {"question": " ", "answer": "y"}]))
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match="unknown file type"):
        own_task(tmp_path / "a.xlsx")


@pytest.mark.parametrize(
    ("record", "right"),
    [
        ({"question": "q", "answers": ["red", "crimson"]}, ("red", "crimson")),
        ({"question": "q", "answer": ["red", "crimson"]}, ("red", "crimson")),
        ({"question": "q", "answers": {"text": ["red", "crimson"], "answer_start": [0, 4]}}, ("red", "crimson")),
        ({"question": "q", "answer": {"value": "red", "aliases": ["Red", "crimson"]}}, ("red", "Red", "crimson")),
        ({"question": "q", "answer": "red", "aliases": ["crimson"]}, ("red", "crimson")),
        ({"question": "q", "answer": "red", "aliases": None}, ("red",)),
    ],
)
def test_every_one_of_several_right_answers_counts(record: dict[str, Any], right: tuple[str, ...], tmp_path: Path):
    task = own_task(lines(tmp_path, [record]))
    assert prepare(task, []).items[0].targets == right and task.cautions == ()


def test_answers_that_may_be_choices_or_right_are_asked_about(tmp_path: Path):
    path = lines(tmp_path, [{"question": f"q {n}", "answers": ["red", "crimson"], "answer": "red"} for n in range(3)])
    with pytest.raises(InputError, match="may be choices, or several right answers"):
        own_task(path)
    assert golds(path, choices="answers") == [0, 0, 0]
    assert prepare(own_task(path, gold="answers"), []).items[0].targets == ("red", "crimson")


def test_names_that_are_no_names_in_a_template_and_names_of_no_column(tmp_path: Path):
    path = lines(tmp_path, [{"my question": "q", "the answer": "x", "in": ["x", "y"]}])
    (item,) = prepare(own_task(path, context="my question", gold="the answer"), []).items
    assert item.ask.prompt == "q" and item.targets == ("x",)
    assert golds(path, context="my question", choices="in", gold="the answer") == [0]
    with pytest.raises(InputError, match="--gold names no column: 'answr'") as error:
        own_task(lines(tmp_path, asked(["x", "y"], 0)), gold="answr")
    assert "'answer'" in error.value.hint


def test_files_with_nothing_in_them_and_folders_are_named(tmp_path: Path):
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(InputError, match=r"a\.txt: 1 of 1 rows have no 'text'"):
        own_task(tmp_path / "a.txt")
    with pytest.raises(ConfigError, match="is a folder"):
        own_task(tmp_path)


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_arrow_of_both_kinds(kind: str, tmp_path: Path):
    table = pa.Table.from_pylist(asked(["x", "y"], 1, 0))
    path = tmp_path / "a.arrow"
    with getattr(pa.ipc, f"new_{kind}")(path, table.schema) as writer:
        writer.write_table(table)
    assert golds(path) == [1, 0]
