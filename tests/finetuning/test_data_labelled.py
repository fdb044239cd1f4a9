"""Labels as people write them, and which of them are trained."""

from __future__ import annotations

import json

import pytest

from tutelage.finetuning.data import choose_labels, read_labelled, read_texts, stratified_split
from tutelage.store.errors import InputError


def given(tmp_path, heard, records, columns=None):
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records))
    return read_labelled(path, heard.log, columns)


def texts(labels):
    return [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([True, False], ["true", "false"]),
        ([1, 0], ["1", "0"]),
        ([1.0, 0.0], ["1", "0"]),
        ([1, 2.0, "2"], ["1", "2", "2"]),
        ([0.5, 1.5], ["0.5", "1.5"]),
        (["1.0", "a b "], ["1.0", "a b"]),
        ([["a"], ["b"]], ["a", "b"]),
    ],
)
def test_labels_become_text(labels, found, tmp_path, heard):
    rows, _ = given(tmp_path, heard, texts(labels))
    assert [row["label"] for row in rows] == found


def test_only_whole_numbers_are_said_to_lose_their_fraction(tmp_path, heard):
    given(tmp_path, heard, texts([1.0, 0.5, 2.0, 1.5]))
    assert "named without it (1.0 is '1'): 2 rows" in heard.messages("note")


def test_what_is_no_label_is_dropped(tmp_path, heard):
    rows, audit = given(tmp_path, heard, texts(["a", None, "", " ", {"a": 1}, [], "b"]))
    assert [row["label"] for row in rows] == ["a", "b"]
    named = "'label' is an object with 'a': name the part that is meant, as in --column label=COLUMN.a"
    assert audit.dropped == {"no 'label'": 1, "'label' is empty or not text": 3, named: 1}


def test_labels_that_look_alike_are_named_and_not_merged(tmp_path, heard):
    _, audit = given(tmp_path, heard, texts(["pos", "POS", "neg", "Neg ", "very  bad", "very bad"]))
    assert len(audit.labels) == 6
    warning = heard.messages("warning")
    assert "'POS', 'pos'" in warning and "'Neg', 'neg'" in warning and "'very  bad', 'very bad'" in warning


def test_contradictions_are_counted_and_stay_on_one_side(tmp_path, heard):
    records = [{"text": f"text {i}", "label": label} for i in range(20) for label in ("a", "b")[: 1 + (i < 8)]]
    records += [{"text": "TEXT  9", "label": "b"}, {"text": "text 30", "label": "b"}]
    rows, _ = given(tmp_path, heard, records)
    assert "9 texts stand with different labels" in heard.messages("warning")
    for seed in range(20):
        parts = stratified_split(rows, seed, 0.3)
        sides = [{" ".join(row["text"].lower().split()) for row in side} for side in (parts.train, parts.heldout)]
        assert not sides[0] & sides[1]


def test_numbers_to_be_estimated_are_refused(tmp_path, heard):
    with pytest.raises(InputError, match="regression"):
        given(tmp_path, heard, texts([i / 7 for i in range(50)]))
    with pytest.raises(InputError, match="regression"):
        given(tmp_path, heard, texts([f"{i}.25" for i in range(8)]))
    with pytest.raises(InputError, match="names no classes"):
        given(tmp_path, heard, texts(list(range(30))))
    rows, _ = given(tmp_path, heard, texts([i % 10 / 2 for i in range(50)]))
    assert len({row["label"] for row in rows}) == 10


def test_several_labels_are_refused_or_where_few_dropped(tmp_path, heard):
    with pytest.raises(InputError, match="multi-label data: 3 of 6 rows"):
        given(tmp_path, heard, texts([["a", "b"], "a"] * 3))
    rows, audit = given(tmp_path, heard, texts([["a", "b"], *(["a"], ["b"]) * 10]))
    assert len(rows) == 20 and audit.dropped == {"it has several labels": 1}
    flags = [{"text": f"t {i}", "toxic": i % 2, "threat": i % 3 == 0} for i in range(9)]
    with pytest.raises(InputError, match="multi-label data: 'toxic', 'threat'"):
        given(tmp_path, heard, flags)
    rows, audit = given(tmp_path, heard, flags, {"label": "toxic"})
    assert audit.labels == {"0": 5, "1": 4} and audit.ignored == {"threat": 9}


@pytest.mark.parametrize("several", ["['a', 'b']", '["a","b"]'])
def test_a_list_of_labels_that_a_table_holds_as_text_is_no_label(several, tmp_path, heard):
    with pytest.raises(InputError, match="multi-label data: 6 of 12 rows"):
        given(tmp_path, heard, texts([several, "a"] * 6))
    _, audit = given(tmp_path, heard, texts([several, *"ab" * 10]))
    assert audit.dropped == {"it has several labels": 1}


@pytest.mark.parametrize(
    ("names", "columns"),
    [(("premise", "hypothesis"), None), (("question", "sentence"), None), (("x", "y"), {"text": "x", "text_b": "y"})],
)
def test_two_texts_are_joined_and_it_is_said(names, columns, tmp_path, heard):
    records = [{names[0]: f"A {i}.", names[1]: "B.", "label": i % 2} for i in range(4)]
    rows, audit = given(tmp_path, heard, records, columns)
    assert rows[0]["text"] == "A 0.\nB." and audit.ignored == {}
    assert "joined by a line break" in heard.messages("note")


def test_the_account_adds_up_and_is_plain_data(tmp_path, heard):
    records = [*texts(["a", "b"] * 3), {"text": "text 0", "label": "a"}, {"text": "", "label": "a"}, 7]
    rows, audit = given(tmp_path, heard, [*records, {"text": "z", "label": "a", "id": 5, "date": "2020"}])
    assert audit.rows == 10 == audit.kept + sum(audit.dropped.values()) and audit.kept == len(rows) == 7
    assert audit.ignored == {"id": 1, "date": 1} and audit.labels == {"a": 4, "b": 3}
    assert json.loads(json.dumps(audit.plain()))["dropped"]["exact duplicate of an earlier row"] == 1


def labelled(counts):
    return [
        {"id": f"{name}{i}", "text": f"{name} text {i}", "label": name} for name, n in counts.items() for i in range(n)
    ]


def test_every_label_is_on_both_sides_and_few_rows_are_enough():
    rows = labelled({"a": 8, "b": 8, "two": 2, "one": 1})
    parts = stratified_split(rows, 3)
    labels = choose_labels(parts.train, parts.heldout)
    assert labels.kept == ("a", "b", "two") and list(labels.dropped) == ["one"]
    assert labels.dropped["one"].count == 1 and "1 training and 0 held-out rows" in labels.dropped["one"].reason
    held = [row["label"] for row in parts.heldout]
    assert sorted(held) == ["a", "b", "two"] and any("only 3 rows are held out" in note for note in parts.notes)


def test_nineteen_labels_stay_nineteen():
    rows = labelled({f"topic{i:02}": 45 if i < 14 else 44 for i in range(19)})
    parts = stratified_split(rows, 0)
    labels = choose_labels(parts.train, parts.heldout, max_per_label=30)
    assert len(labels.kept) == 19 and not labels.dropped and len(parts.train) + len(parts.heldout) == 850
    assert all(sum(row["label"] == name for row in parts.heldout) in (4, 5) for name in labels.kept)
    assert sum(labels.capped.values()) == len(parts.train) - 19 * 30


def test_dropped_labels_are_named(heard):
    parts = stratified_split(labelled({"a": 20, "b": 20, "rare": 6}), 0)
    labels = choose_labels(parts.train, parts.heldout, min_per_label=8)
    labels.tell(heard.log)
    assert labels.kept == ("a", "b") and labels.dropped["rare"].count == 6
    assert "not trained: 1 label with 6 rows: 'rare' (5 training and 1 held-out rows, 8 and 1 needed)" in (
        heard.messages("warning"))  # fmt: skip
    assert labels.why_not is None and json.dumps(labels.plain())
    few = choose_labels(parts.train, parts.heldout, min_per_label=100)
    assert few.kept == () and "no label has enough rows" in few.why_not and "'rare'" in few.why_not


@pytest.mark.parametrize(
    ("name", "content", "column", "found"),
    [
        ("new.txt", "first one\n\n  second, one \n", None, ["first one", "second, one"]),
        ("new.csv", "id,text\n1,a b\n2,c\n", None, ["a b", "c"]),
        ("new.csv", "id,body\n1,a b\n2,c\n", "body", ["a b", "c"]),
        ("new.csv", "anything\na b\nc\n", None, ["a b", "c"]),
        ("new.jsonl", '{"text": "a"}\n{"text": "a"}\n', None, ["a", "a"]),
        ("new.json", '[{"premise": "a", "hypothesis": "b"}]', None, ["a\nb"]),
    ],
)
def test_texts_to_classify(name, content, column, found, tmp_path):
    (tmp_path / name).write_text(content)
    assert read_texts(tmp_path / name, column) == found


def test_a_text_that_is_missing_is_an_error_with_its_line(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("text,n\na,1\n,2\n")
    with pytest.raises(InputError, match="line 3: 'text' is empty"):
        read_texts(path)
    path.write_text("one,two\na,1\n")
    with pytest.raises(InputError, match="cannot be told from 'one', 'two'"):
        read_texts(path)
    with pytest.raises(InputError, match="no column 'three'"):
        read_texts(path, "three")
    (tmp_path / "none.txt").write_text(" \n")
    with pytest.raises(InputError, match="empty"):
        read_texts(tmp_path / "none.txt")


def test_lines_of_fasttext(tmp_path, heard):
    path = tmp_path / "x.txt"
    path.write_text("__label__good A fine day\n__label__bad It rains\nno label here\n")
    rows, audit = read_labelled(path, heard.log)
    assert [(row["text"], row["label"]) for row in rows] == [("A fine day", "good"), ("It rains", "bad")]
    assert audit.dropped == {"no __label__": 1}


def test_what_an_annotator_rejected_is_not_learned(tmp_path, heard):
    path = tmp_path / "x.jsonl"
    marks = {"_input_hash": 1, "_task_hash": 2}
    told = [("a", "x", "accept"), ("b", "x", "reject"), ("c", "y", "ignore"), ("d", "y", "accept")]
    path.write_text("\n".join(json.dumps({"text": t, "label": n, "answer": a, **marks}) for t, n, a in told))
    rows, audit = read_labelled(path, heard.log)
    assert [row["text"] for row in rows] == ["a", "d"]
    assert sum(audit.dropped.values()) == 2 and all("annotator" in why for why in audit.dropped)


def test_labels_that_may_stand_for_none_and_letters_written_in_two_ways(tmp_path, heard):
    _, audit = given(tmp_path, heard, texts(["N/A", "caf\u00e9", "cafe\u0301", "tea\u200b", "tea", "NaN"]))
    assert "labels that may stand for no label are read as labels: 'N/A' 1, 'NaN' 1" in audit.warnings[0]
    assert "caf\u00e9" in audit.warnings[1] and "different labels" in audit.warnings[1]
    assert audit.labels["tea"] == 2


def test_yes_and_no_written_in_several_ways_are_named_and_not_merged(tmp_path, heard):
    rows, audit = given(tmp_path, heard, texts([True, "yes", False, "yes"]))
    assert [row["label"] for row in rows] == ["true", "yes", "false", "yes"]
    assert any("'true', 'yes', 'false'" in warning for warning in audit.warnings)
