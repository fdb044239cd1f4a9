from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.evaluation.bench.items import prepare
from tutelage.evaluation.bench.listing import listing, suites
from tutelage.evaluation.bench.task import BenchTask, find_task, read_task, shipped_names, shipped_tasks
from tutelage.store.errors import ConfigError, DamagedError, InputError

GOOD = """
kind: choice
data: {sources: [{rows: [{q: one, o: [a, b], g: 1}]}]}
context: "{{q}}"
choices: o
gold: g
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_shipped_task_is_whole():
    found = shipped_tasks()
    assert {task.name for task in found} == set(shipped_names())
    assert len(found) >= 18
    for task in found:
        assert task.licence
        assert task.source
        assert task.title != task.name


def test_listing_names_every_task_and_suites_name_only_tasks():
    assert [one["name"] for one in listing([])] == shipped_names()
    for suite in suites().values():
        assert {one["task"] for one in suite["tasks"]} <= set(shipped_names())


def test_a_file_is_a_task_with_its_name(tmp_path: Path):
    task = read_task(written(tmp_path, GOOD))
    assert (task.name, task.metric) == ("mine", "acc")
    item = prepare(task, []).items[0]
    assert [pair.continuation for pair in item.pairs] == [" a", " b"]
    assert item.gold == (1,)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("choices: o", "choises: o", "unknown key 'choises'"),
        ("gold: g", "", "needs gold"),
        ("kind: choice", "kind: chioce", "kind"),
        ('"{{q}}"', '"{{q"', "not valid Jinja"),
        ("gold: g", "gold: g\nmetric: acc_nrom", "did you mean 'acc_norm'"),
        ("data:", "data: [", "not valid YAML"),
        ("{rows: [{q: one, o: [a, b], g: 1}]}", "{}", "a source requires exactly one of"),
    ],
)
def test_a_faulty_file_is_refused_with_its_name(tmp_path: Path, old: str, new: str, said: str):
    with pytest.raises(ConfigError, match=said) as error:
        read_task(written(tmp_path, GOOD.replace(old, new)))
    assert "mine.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("g: 1", "g: 2", "index"),
        ("g: 1", "g: x", "none of the choices"),
        ("o: [a, b]", "o: [a]", "no list of two choices"),
        ("o: [a, b]", "o: ab", "no list of two choices"),
        ("{{q}}", "{{z}}", "does not fit this row"),
        ("choices: o", "choices: o.text", "has no"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path: Path, old: str, new: str, said: str):
    with pytest.raises(InputError, match="mine, item"):
        prepare(read_task(written(tmp_path, GOOD.replace(old, new))), [])


def test_templates_reach_no_python(tmp_path: Path):
    evil = GOOD.replace("{{q}}", "{{ q.__class__.__mro__ }}")
    with pytest.raises(InputError, match=r"unsafe|does not fit"):
        prepare(read_task(written(tmp_path, evil)), [])


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(ConfigError, match="hellaswag"):
        find_task("helaswag")


def test_missing_data_say_how_to_get_them(tmp_path: Path):
    task, _ = find_task("gsm8k")
    with pytest.raises(InputError, match="not on this machine") as error:
        prepare(task.with_(data={"sources": [{"file": "nowhere.jsonl"}]}), [tmp_path])
    assert "--data-dir" in str(error.value)


def test_the_folder_of_the_data_may_be_named_itself(tmp_path: Path):
    place = tmp_path / "mine" / "sums"
    place.mkdir(parents=True)
    (place / "rows.jsonl").write_text('{"q": "one", "o": ["a", "b"], "g": 1}\n', encoding="utf-8")
    task = read_task(written(tmp_path, GOOD.replace("{rows: [{q: one, o: [a, b], g: 1}]}", "{file: sums/*.jsonl}")))
    for named in (place.parent, place):
        assert len(prepare(task, [named]).items) == 1
    with pytest.raises(InputError, match="not on this machine"):
        prepare(task, [tmp_path / "mine" / "others"])


def test_other_data_than_the_task_was_written_for_are_refused(tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text('{"q": "one", "o": ["a", "b"], "g": 1}\n', encoding="utf-8")
    text = GOOD.replace("{rows: [{q: one, o: [a, b], g: 1}]}", f"{{file: rows.jsonl, sha256: {'a' * 64}}}")
    with pytest.raises(DamagedError, match="not what the task was written for"):
        prepare(read_task(written(tmp_path, text)), [tmp_path])


def test_a_bad_line_of_data_is_an_error_and_not_left_out(tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text('{"q": "one", "o": ["a", "b"], "g": 1}\n{"q": \n', encoding="utf-8")
    text = GOOD.replace("{rows: [{q: one, o: [a, b], g: 1}]}", "{file: rows.jsonl}")
    with pytest.raises(InputError, match="line 2"):
        prepare(read_task(written(tmp_path, text)), [tmp_path])


def test_items_keep_their_names_in_whatever_order_rows_come(sums: BenchTask):
    rows = list(sums.data.sources[0].rows or [])
    first = prepare(sums, [])
    other = prepare(sums.with_(data={"sources": [{"rows": rows[::-1]}]}), [])
    assert [item.id for item in first.items] == [item.id for item in other.items][::-1]
    assert first.data_sha256 == other.data_sha256


def test_a_limit_takes_from_every_group(sums: BenchTask):
    taken = prepare(sums, [], limit=6)
    assert sorted(item.group for item in taken.items if item.group) == ["a"] * 3 + ["b"] * 3
    assert taken.total == 20


def test_examples_stand_before_the_question_and_never_the_item_itself(sums: BenchTask):
    examples = {"data": {"sources": [{"rows": [{"q": "Q", "options": ["yes", "no"], "right": 1, "kind": "a"}]}]}}
    task = BenchTask.parse({**sums.plain(), "fewshot": examples, "description": "Sums.\n\n"})
    assert prepare(task, [], shots=1).items[0].pairs[0].context.startswith("Sums.\n\nQ no\n\nWhat is")
    assert prepare(task, [], shots=0).items[0].pairs[0].context.startswith("Sums.\n\nWhat is")
    with pytest.raises(ConfigError, match="no few-shot examples"):
        prepare(sums, [], shots=2)
