"""Lists in tables as pandas and numpy print them, vectors of labels, words for a judgement, splits in a column."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tutelage.finetuning.data import (
    judged_of,
    read_conversations,
    read_judged,
    read_labelled,
    read_preferences,
    stratified_split,
)
from tutelage.finetuning.data.multilabel import read_multilabel
from tutelage.finetuning.data.problems import read_problems
from tutelage.finetuning.data.translations import read_translations
from tutelage.store.errors import InputError
from tutelage.store.written import written

TALK = [{"role": "user", "content": "What's green?\nSay."}, {"role": "assistant", "content": 'The "lamp", {it}\n {is}'}]


def table(path, header, rows):
    def quoted(cell):
        return '"' + str(cell).replace('"', '""') + '"'

    path.write_text("".join(",".join(map(quoted, row)) + "\n" for row in [header, *rows]))
    return path


def lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("value", [["a", "b"], ["it's", 'say "b"', "c\n d"], [0, 1, 1], TALK, [["a", "b"], ["c", "d"]]])
@pytest.mark.parametrize("write", [json.dumps, str, lambda value: str(np.array(value, dtype=object)), repr])
def test_a_list_is_read_however_it_was_printed(write, value):
    assert written(f" {write(value)} ") == value


@pytest.mark.parametrize(
    "text",
    [
        "[1 2] x [3]",
        "[lamp]",
        "[pos, neg]",
        "{a}",
        "[1,2",
        "(1, 2)",
        "'a' 'b'",
        "[x for x in 'ab' 'c']",
        "[C:\\dir 'x']",
    ],
)
def test_what_only_looks_like_a_list_is_none(text, recwarn):
    assert written(text) is None and not recwarn.list


@pytest.mark.parametrize("write", [json.dumps, str, lambda value: str(np.array(value, dtype=object))])
def test_conversations_in_a_table_are_no_answers_of_one_text(write, tmp_path, heard):
    bad = [TALK[0], {"role": "assistant", "content": "No."}]
    path = table(tmp_path / "pairs.csv", ["chosen", "rejected"], [[write(TALK), write(bad)]])
    rows, _ = read_preferences(path, heard.log)
    assert (rows[0]["chosen"], rows[0]["rejected"]) == (TALK[1]["content"], "No.")
    rows, _ = read_conversations(table(tmp_path / "talk.csv", ["messages"], [[write(TALK)]]), heard.log)
    assert rows[0]["messages"] == TALK


def test_labels_that_numpy_printed_stay_apart(tmp_path, heard):
    path = table(tmp_path / "m.csv", ["text", "labels"], [["t 1", "['a' 'b']"], ["t 2", "['b']"], ["t 3", "[]"]])
    rows, _ = read_multilabel(path, heard.log)
    assert [row["labels"] for row in rows] == [["a", "b"], ["b"], []]
    with pytest.raises(InputError, match="multi-label data"):
        read_labelled(path, heard.log)
    one = table(tmp_path / "c.csv", ["text", "label"], [["t 1", "['a']"], ["t 2", "['b']"]])
    assert [row["label"] for row in read_labelled(one, heard.log)[0]] == ["a", "b"]


@pytest.mark.parametrize("kind", [int, float, bool, str])
def test_vectors_of_labels_are_read_by_place(kind, tmp_path, heard):
    def vector(*places):
        return [kind(place) for place in places]

    path = lines(tmp_path / "m.jsonl", [{"text": f"t {i}", "labels": v} for i, v in
                                        enumerate([vector(1, 0, 1), vector(0, 0, 0), vector(0, 1, 0)])])  # fmt: skip
    if kind is bool:
        assert json.loads(path.read_text().splitlines()[0])["labels"] == [True, False, True]
    rows, _ = read_multilabel(path, heard.log)
    assert [row["labels"] for row in rows] == [["0", "2"], [], ["1"]]
    with pytest.raises(InputError, match="not all with a single 1"):
        read_labelled(path, heard.log)
    one = lines(tmp_path / "c.jsonl", [{"text": f"t {i}", "label": vector(i % 2, 1 - i % 2)} for i in range(4)])
    assert [row["label"] for row in read_labelled(one, heard.log)[0]] == ["1", "0", "1", "0"]


def test_two_numbers_of_labels_are_no_vector(tmp_path, heard):
    path = lines(tmp_path / "m.jsonl", [{"text": "t 1", "labels": [0, 1]}, {"text": "t 2", "labels": [0, 1]}])
    assert [row["labels"] for row in read_multilabel(path, heard.log)[0]] == [["0", "1"], ["0", "1"]]


def test_labels_as_an_object_of_yes_and_no(tmp_path, heard):
    given = [{"rude": 1, "spam": 0}, {"rude": 0, "spam": 0}, {"rude": 1, "spam": 1}, {"rude": 0.4, "spam": 1}]
    path = lines(tmp_path / "m.jsonl", [{"text": f"t {i}", "labels": v} for i, v in enumerate(given)])
    rows, audit = read_multilabel(path, heard.log)
    assert [row["labels"] for row in rows] == [["rude"], [], ["rude", "spam"]]
    assert audit.dropped == {"'label' is an object whose values are not all yes or no": 1}


@pytest.mark.parametrize(("good", "bad"), [("good", "bad"), (1, -1), ("yes", "no"), ("Desirable", "undesirable")])
def test_words_for_a_bad_answer_keep_it_from_being_learned(good, bad, tmp_path, heard):
    path = lines(
        tmp_path / "k.jsonl", [{"prompt": f"q {i}", "completion": "a", "label": (good, bad)[i % 2]} for i in range(6)]
    )
    with pytest.raises(InputError, match="3 of 6 answers are judged bad"):
        read_conversations(path, heard.log)
    assert [row["label"] for row in read_judged(path, heard.log)[0]] == [True, False] * 3


def test_pairs_with_equal_scores_are_named(tmp_path, heard):
    pair = {"chosen": "a", "rejected": "b", "chosen_score": 2}
    path = lines(
        tmp_path / "p.jsonl",
        [{"prompt": "q", **pair, "rejected_score": 2}, {"prompt": "p", **pair, "rejected_score": 1}],
    )
    read_preferences(path, heard.log)
    assert "in 1 rows both answers have the same score" in heard.messages("warning")


def labelled(*parts, column="split"):
    return [{"text": f"t {i}", "label": "ab"[i % 2], column: part} for i, part in enumerate(parts)]


def test_a_column_says_which_rows_are_held_out(tmp_path, heard):
    path = lines(tmp_path / "a.jsonl", labelled("train", "TEST", "train", "train", "test", "dev"))
    rows, audit = read_labelled(path, heard.log)
    parts = stratified_split(rows, 0)
    assert {row["text"] for row in parts.heldout} == {"t 1", "t 4"}
    assert {row["text"] for row in parts.train} == {"t 0", "t 2", "t 3"}
    assert audit.dropped == {"'split' says 'validation', and the rows of 'test' are held out": 1} and not audit.ignored
    assert audit.examples == {"'split' says 'validation', and the rows of 'test' are held out": [6]}


def test_test_rows_without_labels_are_not_what_is_measured_on(tmp_path, heard):
    records = labelled("train", "dev", "train", "train", "dev", "test")
    del records[5]["label"]
    parts = stratified_split(read_labelled(lines(tmp_path / "a.jsonl", records), heard.log)[0], 0)
    assert {row["text"] for row in parts.heldout} == {"t 1", "t 4"}


@pytest.mark.parametrize("parts", [("train", "train"), ("test", "test"), ("train", "other"), ("a", "b")])
def test_any_other_column_of_that_name_is_none(parts, tmp_path, heard):
    rows, audit = read_labelled(lines(tmp_path / "a.jsonl", labelled(*parts)), heard.log)
    assert not any("split" in row for row in rows) and audit.ignored == {"split": 2}
    problems = [{"question": f"{i} + 1?", "answer": str(i + 1), "split": part} for i, part in enumerate(parts)]
    rows, audit = read_problems(lines(tmp_path / "p.jsonl", problems), heard.log)
    assert not any("split" in row for row in rows) and audit.ignored == {"split": 2}


def test_the_column_may_be_the_label(tmp_path, heard):
    path = lines(tmp_path / "a.jsonl", [{"text": f"t {i}", "set": ["train", "test"][i % 2]} for i in range(4)])
    rows, _ = read_labelled(path, heard.log, {"label": "set"})
    assert [row["label"] for row in rows] == ["train", "test", "train", "test"]


def test_splits_of_one_json_object(tmp_path, heard):
    rows = labelled("", "", "", column="n")
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"train": rows[:2], "test": rows[2:]}))
    parts = stratified_split(read_labelled(path, heard.log)[0], 0)
    assert [row["text"] for row in parts.heldout] == ["t 2"] and len(parts.train) == 2


def test_held_out_pairs_stay_so_as_judged_answers_and_as_translations(tmp_path, heard):
    pairs = [{"prompt": f"q {i}", "chosen": "a", "rejected": "b", "split": ["train", "test"][i % 2]} for i in range(4)]
    path = lines(tmp_path / "p.jsonl", pairs)
    judged = judged_of(read_preferences(path, heard.log)[0])
    assert {row["prompt"] for row in stratified_split(judged, 0).heldout} == {"q 1", "q 3"}
    path = lines(
        tmp_path / "t.jsonl", [{"source": f"s {i}", "target": "t", "split": ["train", "test"][i % 2]} for i in range(4)]
    )
    assert [row["source"] for row in read_translations(path, heard.log)[0] if "split" in row] == ["s 1", "s 3"]


def test_a_given_split_that_leaks_is_said(tmp_path, heard):
    records = labelled("train", "train", "test", "test")
    records[2]["text"] = records[0]["text"].upper()
    parts = stratified_split(read_labelled(lines(tmp_path / "a.jsonl", records), heard.log)[0], 0)
    assert any(note.startswith("1 held-out rows ask the same as a training row") for note in parts.notes)
