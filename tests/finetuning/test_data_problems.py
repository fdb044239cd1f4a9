from __future__ import annotations

import json

import pytest

from tutelage.finetuning.data import problem_key, read_problems, stratified_split
from tutelage.store.errors import ConfigError, InputError


def write(tmp_path, *rows, name="problems.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_further_column_is_kept_for_the_rewards(tmp_path, heard):
    path = write(tmp_path, {"question": "2+2?", "answer": "4", "level": 3, "id": "x", "tags": ["a"]})
    (row,), audit = read_problems(path, heard.log)
    assert {key: value for key, value in row.items() if key != "id"} == {"prompt": "2+2?", "answer": "4", "level": 3}
    assert audit.kept == 1 and "tags" in audit.ignored


@pytest.mark.parametrize(
    ("given", "prompt", "turns", "gold"),
    [
        ({"prompt": "p", "gold": "g"}, "p", None, {"gold": "g"}),
        ({"problem": "p", "solution": "s"}, "p", None, {"solution": "s"}),
        ({"instruction": "p", "input": "x", "output": "o"}, "p\nx", None, {"output": "o"}),
        ({"prompt": "p", "system": "s", "answer": 1}, "p", ["system", "user"], {"answer": 1}),
        ({"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]}, "p", None,
         {"response": "a"}),
        ({"messages": [{"role": "user", "content": "p"}], "ground_truth": "7"}, "p", None, {"ground_truth": "7"}),
        ({"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "p"}], "answer": "a"}, "p",
         ["system", "user"], {"answer": "a"}),
    ],
)  # fmt: skip
def test_prompts_in_every_usual_layout(given, prompt, turns, gold, tmp_path, heard):
    (row,), _ = read_problems(write(tmp_path, given), heard.log)
    assert row["prompt"] == prompt
    assert [turn["role"] for turn in row.get("messages", [])] == (turns or [])
    assert {key: row[key] for key in row if key not in ("id", "prompt", "messages")} == gold


def test_columns_by_name(tmp_path, heard):
    path = write(tmp_path, {"q": "2+2?", "res": "4", "answer": "no"})
    (row,), _ = read_problems(path, heard.log, {"prompt": "q", "answer": "res"})
    assert row["prompt"] == "2+2?" and row["answer"] == "4"
    with pytest.raises(ConfigError, match="unknown column name"):
        read_problems(path, heard.log, {"promt": "q"})


def test_what_is_no_problem_is_dropped_with_its_reason(tmp_path, heard):
    good = {"prompt": "p", "answer": "a"}
    path = write(tmp_path, good, {"answer": "a"}, {"prompt": "", "answer": "a"}, good)
    rows, audit = read_problems(path, heard.log)
    assert len(rows) == 1 and sum(audit.dropped.values()) == 3
    with pytest.raises(InputError, match="preference data"):
        read_problems(write(tmp_path, {"prompt": "p", "chosen": "a", "rejected": "b"}), heard.log)


def test_the_same_question_stands_on_one_side_whatever_is_right(tmp_path, heard):
    rows = [{"prompt": f"Q{at % 20}", "answer": str(at)} for at in range(60)]
    found, _ = read_problems(write(tmp_path, *rows), heard.log)
    parts = stratified_split(found, 1, 0.3, problem_key)
    train, held = ({row["prompt"] for row in part} for part in (parts.train, parts.heldout))
    assert train and held and not train & held and len(parts.train) + len(parts.heldout) == 60
