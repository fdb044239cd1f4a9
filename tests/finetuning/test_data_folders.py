"""Folders of files, what the library `datasets` writes, one-byte JSON lines, and files meant for another method."""

from __future__ import annotations

import datetime
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.finetuning.classify.config import ClassifyConfig
from tutelage.finetuning.classify.spec import SPEC
from tutelage.finetuning.data import read_conversations, read_labelled, read_preferences, stratified_split
from tutelage.finetuning.data.folder import total_bytes
from tutelage.recipe.one_step import OwnRows, one_step_recipe
from tutelage.store.errors import ConfigError, InputError

TEXTS = [f"text number {n}" for n in range(12)]
FEATURES = {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}, "text": {"dtype": "string", "_type": "Value"}}


def hf_table(texts, labels, features=FEATURES):
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.table({"text": texts, "label": pa.array(labels, pa.int64())}).replace_schema_metadata(metadata)


def write_arrow(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def write_lines(path, rows, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(encoding))
    return path


def test_numbers_of_classes_become_their_names(tmp_path, heard):
    pq.write_table(hf_table(TEXTS, [0, 1] * 6), tmp_path / "a.parquet")
    _, audit = read_labelled(tmp_path / "a.parquet", heard.log)
    assert audit.labels == {"neg": 6, "pos": 6} and "0 is 'neg', 1 is 'pos'" in heard.messages("note")
    pq.write_table(hf_table(TEXTS, [0, 1, -1] * 4), tmp_path / "b.parquet")  # -1: no label
    _, audit = read_labelled(tmp_path / "b.parquet", heard.log)
    assert audit.labels == {"neg": 4, "pos": 4} and audit.dropped == {"no 'label'": 4}
    for broken in ("no json", json.dumps({"info": {"features": [1]}}), json.dumps([])):
        table = hf_table(TEXTS, [0, 1] * 6).replace_schema_metadata({"huggingface": broken})
        pq.write_table(table, tmp_path / "c.parquet")
        assert set(read_labelled(tmp_path / "c.parquet", heard.log)[1].labels) == {"0", "1"}


def test_a_saved_dataset_with_its_splits(tmp_path, heard):
    folder = tmp_path / "saved"
    write_arrow(folder / "train" / "data-00000-of-00002.arrow", hf_table(TEXTS[:5], [0, 1, 0, 1, 0]))
    write_arrow(folder / "train" / "data-00001-of-00002.arrow", hf_table(TEXTS[5:8], [1, 0, 1]))
    write_arrow(folder / "validation" / "data-00000-of-00001.arrow", hf_table(["held"], [1]))
    write_arrow(folder / "test" / "data-00000-of-00001.arrow", hf_table([*TEXTS[8:], TEXTS[0]], [0, 1, 0, 1, 0]))
    for name in ("dataset_dict.json", "train/state.json", "train/dataset_info.json"):
        (folder / name).write_text("{}")
    rows, audit = read_labelled(folder, heard.log)
    # What stands in both is held out, and its copy among the training rows dropped.
    assert audit.dropped == {"it stands among the held-out rows too": 1}
    parts = stratified_split(rows, 3, share=0.5)
    assert {row["text"] for row in parts.heldout} == {*TEXTS[8:], TEXTS[0]}
    assert {row["text"] for row in parts.train} == set(TEXTS[1:8]) and "split" not in parts.train[0]
    said = heard.messages("note")
    assert "5 rows of 'test' are held out" in said and "1 rows of 'validation' are not used" in said
    assert audit.labels == {"neg": 6, "pos": 6}


def test_test_rows_without_labels_are_no_held_out_rows(tmp_path, heard):
    pq_of = {"train": [0, 1] * 6, "validation": [1, 0] * 6, "test": [-1] * 12}
    for part, labels in pq_of.items():
        texts = [f"{part} {text}" for text in TEXTS]
        pq.write_table(hf_table(texts, labels), tmp_path / f"{part}-00000-of-00001.parquet")
    rows, _ = read_labelled(tmp_path, heard.log)
    parts = stratified_split(rows, 1)
    assert len(parts.train) == len(parts.heldout) == 12 and parts.heldout[0]["text"].startswith("validation")
    assert "12 rows of 'test' are not used" in heard.messages("note")


def test_shards_without_splits_are_one_file(tmp_path, heard):
    for number in range(3):
        rows = [{"prompt": f"Q{number} {n}", "response": f"A{n}"} for n in range(4)]
        write_lines(tmp_path / "deep" / f"part-{number}.jsonl", rows)
    rows, audit = read_conversations(tmp_path, heard.log)
    assert len(rows) == 12 == audit.rows and "3 files are read as one" in heard.messages("note")
    assert not any("split" in row for row in rows) and len(stratified_split(rows, 1).heldout) == 1
    (tmp_path / "test.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"holds 3 .jsonl and 1 .csv files, of which no name"):
        read_conversations(tmp_path, heard.log)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no file of rows"):
        read_labelled(tmp_path / "none", heard.log)


def test_only_test_files_are_no_split(tmp_path, heard):
    write_lines(tmp_path / "test.jsonl", [{"text": text, "label": "ab"[n % 2]} for n, text in enumerate(TEXTS)])
    rows, _ = read_labelled(tmp_path, heard.log)
    assert len(stratified_split(rows, 1).train) == 10


def test_every_file_of_a_folder_is_part_of_the_identity(tmp_path):
    for part in ("train", "test"):
        write_lines(tmp_path / "d" / f"{part}.jsonl", [{"text": part, "label": "a"}])
    config = ClassifyConfig(data=str(tmp_path / "d"))
    found = SPEC.files(config)
    assert set(found) == {"data/train.jsonl", "data/test.jsonl"}
    assert total_bytes(config.data) == sum(
        (tmp_path / "d" / f"{part}.jsonl").stat().st_size for part in ("train", "test")
    )
    assert SPEC.files(ClassifyConfig(data="one.csv")) == {"data": "one.csv"}


def test_json_lines_in_a_one_byte_encoding_are_read_and_said(tmp_path, heard):
    rows = [{"text": f"café à la crème numéro {n}", "label": "ab"[n % 2]} for n in range(12)]
    path = write_lines(tmp_path / "a.jsonl", rows, "latin-1")
    found, audit = read_labelled(path, heard.log)
    assert [row["text"] for row in found] == [row["text"] for row in rows]
    assert audit.encoding not in ("utf-8", "ascii") and "(guessed)" in heard.messages("warning")


def test_a_few_damaged_lines_are_no_other_encoding(tmp_path, heard):
    good = [{"text": f"motörhead über {n}", "label": "ab"[n % 2]} for n in range(12)]
    path = write_lines(tmp_path / "a.jsonl", good)
    path.write_bytes(path.read_bytes() + b'{"text": "\xff", "label": "a"}\n' * 3)
    found, audit = read_labelled(path, heard.log)
    assert len(found) == 12 and audit.dropped == {"not UTF-8": 3} and audit.encoding == "utf-8"


LABELLED = [{"review": "good", "stars": 5}, {"review": "bad", "stars": 1}] * 2
TALK = [{"messages": [{"role": "user", "content": f"Q{n}"}, {"role": "assistant", "content": "A"}]} for n in range(3)]
PAIRS = [{"prompt": f"Q{n}", "chosen": "A", "rejected": "B"} for n in range(3)]
LABELLED[0]["label"] = "x"


@pytest.mark.parametrize(
    ("reader", "rows", "said"),
    [
        (read_conversations, LABELLED, r"texts with labels, not conversations .*tutelage finetune classify f.jsonl"),
        (read_conversations, PAIRS, r"preference data.*'prefer'"),
        (read_labelled, TALK, r"holds conversations .*, not texts with labels .*tutelage finetune instruct f.jsonl"),
        (read_labelled, PAIRS, r"holds pairs of a chosen .*tutelage finetune prefer f.jsonl"),
        (read_preferences, LABELLED, r"holds texts with labels, not pairs .*tutelage finetune classify f.jsonl"),
        (read_preferences, TALK, r"no row with a chosen and a rejected one.*'instruct'"),
    ],
)  # fmt: skip
def test_a_file_for_another_method_names_it(reader, rows, said, tmp_path, heard):
    with pytest.raises(InputError) as error:
        reader(write_lines(tmp_path / "f.jsonl", rows), heard.log)

    assert re.search(said, str(error.value)), str(error.value)


def test_labels_that_are_joined_are_refused_or_where_few_named(tmp_path, heard):
    labels = ["a;b", "a", "b", "b;c", "c"] * 4
    rows = [{"text": f"text {n}", "label": label} for n, label in enumerate(labels)]
    with pytest.raises(InputError, match="multi-label data: 8 of 20 rows have several labels, such as 'a;b'"):
        read_labelled(write_lines(tmp_path / "a.jsonl", rows), heard.log)
    rows = [{"text": f"text {n}", "label": "ab"[n % 2] if n else "a; b"} for n in range(20)]
    _, audit = read_labelled(write_lines(tmp_path / "b.jsonl", rows), heard.log)
    assert "looks like several joined by ';'" in audit.warnings[0] and audit.labels["a; b"] == 1
    # A comma within a name is no joint.
    rows = [{"text": f"text {n}", "label": ["Paris, France", "Rome, Italy"][n % 2]} for n in range(20)]
    assert not read_labelled(write_lines(tmp_path / "c.jsonl", rows), heard.log)[1].warnings


def test_a_misspelt_setting_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"no setting 'trainin'.*did you mean 'training'"):
        one_step_recipe(OwnRows("instruct", {"data": "a.jsonl"}, 10), "smollm2", 135e6, 512, ["trainin.epochs=3"])


def test_a_split_may_stand_at_the_end_of_a_name_and_copies_in_a_cache_are_no_rows(tmp_path, heard):
    rows = [{"text": text, "label": str(n % 2)} for n, text in enumerate(TEXTS)]
    write_lines(tmp_path / "a" / "tickets_train.jsonl", rows[:8])
    write_lines(tmp_path / "a" / "tickets_test.jsonl", rows[8:])
    found, _ = read_labelled(tmp_path / "a", heard.log)
    assert [row["text"] for row in found if "split" in row] == TEXTS[8:]
    for name in ("data-00000-of-00001.arrow", "cache-0123456789abcdef.arrow"):
        write_arrow(tmp_path / "b" / name, hf_table(TEXTS, [0, 1] * 6))
    _, audit = read_labelled(tmp_path / "b", heard.log)
    assert audit.rows == 12 and audit.dropped == {}


def test_files_of_several_kinds_are_told_by_their_splits(tmp_path, heard):
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"{text},{n % 2}\n" for n, text in enumerate(TEXTS)))
    write_lines(tmp_path / "test.jsonl", [{"text": "held", "label": 1}])
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "~$train.xlsx").write_bytes(b"a lock of Excel")
    rows, audit = read_labelled(tmp_path, heard.log)
    assert [row["text"] for row in rows if "split" in row] == ["held"] and len(rows) == 13
    assert "not read, as their names say no split: config.json" in audit.notes
    assert audit.format == "2 files of JSON lines and CSV, 13 as text,label"


def test_a_file_with_other_columns_than_the_first_is_named(tmp_path, heard):
    write_lines(tmp_path / "a.jsonl", [{"text": text, "label": "x"} for text in TEXTS])
    write_lines(tmp_path / "b.jsonl", [{"body": "c", "label": "y"}])
    _, audit = read_labelled(tmp_path, heard.log)
    assert "b.jsonl has no column 'text', which a.jsonl has" in audit.warnings


def test_texts_in_a_folder_for_each_label_are_no_rows_yet(tmp_path, heard):
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "1.txt").write_text("a")
    with pytest.raises(InputError, match="no file of rows") as error:
        read_labelled(tmp_path, heard.log)
    assert "a folder for each label" in error.value.hint


def test_dates_and_bytes_of_a_table_are_read_as_text(tmp_path, heard):
    days = pa.array([datetime.date(2024, 1, 1 + n % 2) for n in range(12)])
    pq.write_table(pa.table({"text": [text.encode() for text in TEXTS], "label": days}), tmp_path / "a.parquet")
    rows, audit = read_labelled(tmp_path / "a.parquet", heard.log)
    assert rows[0]["text"] == TEXTS[0] and audit.labels == {"2024-01-01": 6, "2024-01-02": 6}
    pq.write_table(pa.table({"text": [b"\xff\xfe"] * 12, "label": days}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="not text"):
        read_labelled(tmp_path / "b.parquet", heard.log)


def test_test_rows_of_which_none_can_be_used_hold_nothing_out(tmp_path, heard):
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"{text},{n % 2}\n" for n, text in enumerate(TEXTS)))
    (tmp_path / "test.csv").write_text("text\nunlabelled one\nunlabelled two\n")
    rows, audit = read_labelled(tmp_path, heard.log)
    assert len(rows) == 12 and not any("split" in row for row in rows) and stratified_split(rows, 0).heldout
    assert any("none of the 2 rows" in warning for warning in audit.warnings)
    assert not any("are held out" in note for note in audit.notes)


def test_texts_with_their_translations_are_no_texts_with_labels(tmp_path, heard):
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"source": text, "target": text}) + "\n" for text in TEXTS))
    with pytest.raises(InputError) as error:
        read_conversations(tmp_path / "x.jsonl", heard.log)
    assert "finetune translate" in error.value.hint
