"""A finetuning method is one folder and a task one file: both are added here without touching any room."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from miniature_life import TEXTS_PER_LABEL, miniature, write_texts
from tutelage import finetuning, tasks
from tutelage.recipe.config import load_recipe
from tutelage.recipe.graph import life
from tutelage.recipe.run import run_recipe
from tutelage.report.write import write_report
from tutelage.store.errors import ConfigError
from tutelage.store.kinds import spec_of

TASK = '''
"""Say the first word of a text again."""

from tutelage.tasks.task import Examples, Grade, Task


def rows(documents):
    return [{"id": d["id"], "prompt": f"First word of: {d['text'][:40]}", "response": d["text"].split()[0]}
            for d in documents]


TASK = Task(
    name="first_word",
    title="first words",
    kind="answers",
    columns=("id", "text"),
    examples=lambda train, heldout, seed: Examples(rows(train), rows(heldout)),
    grade=lambda answer, row: Grade(float(answer == row["response"]), {"same word": answer == row["response"]}),
    rule="same-word rule",
    cautions=("Nobody needs this.",),
)
'''

SPEC = '''
"""Learn the answers as plain text, without a chat."""

from tutelage.finetuning.config import FinetuneConfig
from tutelage.finetuning.spec import needs_of, own_file
from tutelage.store.stage import Headline, StageSpec


class PlainConfig(FinetuneConfig):
    """`repeat`: how often each answer is said."""

    repeat: int = 1


def run(job):
    from tutelage.finetuning.plain.stage import plain

    return plain(job)


def section(view):
    return [{"kind": "prose", "text": f"Learned {view.metrics['rows']} answers as plain text."}]


SPEC = StageSpec(
    kind="plain", version=1, title="Plain finetuning", config=PlainConfig, run=run, makes="chat model",
    needs=needs_of, seeds=("training", "data"), files=own_file, trains=True, heldout="answers",
    headline=("rows",), glance=(Headline("chrF", "Plain, chrF"),), section=section,
)
'''

STAGE = '''
"""The stage: rows in, a model directory out."""

from tutelage.finetuning.common import run_metrics, task_rows, write_model
from tutelage.finetuning.data import write_rows
from tutelage.finetuning.examples import text_examples
from tutelage.finetuning.instruct.objective import Instruction
from tutelage.model.io import load_model
from tutelage.tasks import task
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import pack
from tutelage.training.loop import train


def plain(job):
    config, base = job.config, job.inputs["model"]
    rows = task_rows(task(config.task), job.inputs["corpus"], job.data_seed)
    tok, model = Tokenizer.load(base), load_model(base)

    def packed(rows):
        texts = [f"{row['prompt']} {row['response']} " * config.repeat for row in rows]
        return pack(text_examples(tok, texts, config.context_length, 100_000), config.context_length, tok.pad_id)

    objective = Instruction(packed(rows.train), packed(rows.heldout))
    result = train(model, objective, config.training, job.work, job.log, job.seed, data_seed=job.data_seed)
    write_model(model, tok, result.curve, job.out, base)
    write_rows(job.out / "data" / "train.jsonl", rows.train)
    write_rows(job.out / "data" / "heldout.jsonl", rows.heldout)
    return {"rows": len(rows.train), **run_metrics(result)}
'''


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A method folder and a task file where the rooms look for them."""
    method = tmp_path / "methods" / "plain"
    method.mkdir(parents=True)
    (method / "__init__.py").write_text('"""Plain finetuning."""\n')
    (method / "spec.py").write_text(SPEC)
    (method / "stage.py").write_text(STAGE)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "first_word.py").write_text(TASK)
    monkeypatch.setattr(finetuning, "__path__", [*finetuning.__path__, str(tmp_path / "methods")])
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path / "tasks")])
    yield


def test_a_new_method_and_a_new_task_are_known_everywhere(added: None, tmp_path: Path) -> None:
    assert "plain" in finetuning.method_names() and "first_word" in tasks.task_names()
    found = spec_of("plain")
    assert found is not None and found.title == "Plain finetuning"
    with pytest.raises(ConfigError, match=r"unknown key 'finetune.mine.repeats'.*did you mean 'repeat'"):
        load_recipe(None, ["finetune={mine: {method: plain, task: first_word, repeats: 2}}"])


def test_a_life_with_them_runs_is_evaluated_and_reported(added: None, tmp_path: Path) -> None:
    write_texts(tmp_path / "texts")
    recipe = miniature(
        tmp_path / "texts",
        {"mine": {"method": "plain", "task": "first_word", "context_length": 64, "repeat": 2,
                  "training": {"steps": 3, "batch_rows": 4, "precision": "float32", "log_every": 1}}},
    )  # fmt: skip
    assert "mine" in [node.name for node in life(recipe)]
    events: list[dict[str, Any]] = []
    run = run_recipe(recipe, tmp_path / "runs", (events.append,))
    record = run.stage("mine")
    assert record["status"] == "ran" and 0 < record["metrics"]["rows"] < 3 * TEXTS_PER_LABEL
    assert str(run.record["chat_model"]).endswith(record["artifact"].rsplit("/", 1)[-1])
    place = run.path / run.stage("evaluate")["artifact"] / "evaluation.json"
    figures = json.loads(place.read_text())["figures"]
    rule = next(figure for figure in figures if figure["measure"] == "rule passed")
    assert rule["task"] == "first words" and "same-word rule. Nobody needs this." in rule["note"]
    assert {"base", "mine", "nearest neighbour", "constant"} <= {row["who"] for row in rule["rows"]}
    report = write_report(run.path).read_text()
    assert "answers as plain text" in report and "Plain, chrF" in report
