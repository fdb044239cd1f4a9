"""Recipes: defaults, overrides, errors; identities that change only where they should; the runner's promises."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tutelage.recipe import graph
from tutelage.recipe import plan as planning
from tutelage.recipe.config import Recipe, load_recipe
from tutelage.recipe.graph import STAGES, Job, Stage, stages_for
from tutelage.recipe.lineage import lineage
from tutelage.recipe.plan import plan
from tutelage.recipe.run import run_recipe
from tutelage.store.artifacts import ArtifactStore
from tutelage.store.errors import ConfigError, Interrupted, TrainingError, TutelageError
from tutelage.store.events import read_events


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("Some text. " * 20)
    return folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces the work of every stage, not the graph; returns the names of stages that really ran."""
    ran: list[str] = []

    def fake(stage: Stage) -> Stage:
        def run(job: Job) -> dict[str, Any]:
            ran.append(stage.name)
            (job.out / "data.txt").write_text(stage.name + str(sorted(job.inputs)))
            return {"figure": 1.0}

        return Stage(stage.name, stage.version, stage.needs, stage.settings, run, stage.uses, data=stage.data)

    monkeypatch.setattr(graph, "STAGES", tuple(fake(stage) for stage in STAGES))
    return ran


def recipe(corpus: Path, *sets: str) -> Recipe:
    return load_recipe(None, [f"corpus.source={corpus}", "name=test", *sets])


ALL = [stage.name for stage in STAGES]


def test_a_second_run_is_cached_and_a_changed_key_runs_only_what_depends_on_it(
    corpus: Path, tmp_path: Path, calls: list[str]
) -> None:
    run_recipe(recipe(corpus), tmp_path / "runs")
    assert calls == ALL
    second = run_recipe(recipe(corpus), tmp_path / "runs")
    assert calls == ALL and {stage["status"] for stage in second.record["stages"]} == {"cached"}
    for key, expected in {
        "finetune.prefer.beta=0.3": ["prefer", "evaluate"],
        "finetune.pairs.samples=2": ["pairs", "prefer", "evaluate"],
        "finetune.classify.max_tokens=40": ["classify", "evaluate"],
        "baselines.ngram_order=3": ["baselines", "evaluate"],
        "model.num_layers=2": ["pretrain", "classify", "instruct", "pairs", "prefer", "evaluate"],
        "pretrain.training.threads=1": [],
        "pretrain.training.checkpoint_seconds=1": [],
        "seed=2": ALL,
    }.items():
        calls.clear()
        run_recipe(recipe(corpus, key), tmp_path / "runs")
        assert calls == expected, key


def test_changed_text_changes_everything(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    run_recipe(recipe(corpus), tmp_path / "runs")
    calls.clear()
    (corpus / "a.txt").write_text("Other text. " * 20)
    run_recipe(recipe(corpus), tmp_path / "runs")
    assert calls == ALL


def test_the_run_folder_tells_what_happened(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    run = run_recipe(recipe(corpus), tmp_path / "runs", forecast={"pretrain": 3.0})
    record = json.loads((run.path / "run.json").read_text())
    assert record["status"] == "done" and record["forecast"] == {"pretrain": 3.0}
    assert [stage["stage"] for stage in record["stages"]] == ALL
    assert (run.path / record["chat_model"] / "data.txt").read_text().startswith("prefer")
    assert Recipe.parse(yaml.safe_load((run.path / "recipe.yaml").read_text())) == recipe(corpus)
    kinds = [event["event"] for event in read_events(run.path / "events.jsonl")]
    assert kinds[0] == "run_start" and kinds[-1] == "run_end" and kinds.count("stage_end") == len(ALL)
    assert (tmp_path / "runs" / "latest").read_text() == "test\n"


def test_unwanted_sections_and_what_hangs_on_them_are_skipped(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    run = run_recipe(recipe(corpus, "finetune.instruct=null", "finetune.prefer=null"), tmp_path / "runs")
    skipped = {stage["stage"]: stage["why"] for stage in run.record["stages"] if stage["status"] == "skipped"}
    assert set(skipped) == {"instruct", "pairs", "prefer"}
    assert calls == ["corpus", "tokenizer", "baselines", "pretrain", "classify", "evaluate"]
    assert "pretrain" in run.record["chat_model"]


def failing(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    def run(job: Job) -> dict[str, Any]:
        (job.out / "half.txt").write_text("half")
        (job.work / "checkpoint").write_text("kept")
        raise error

    changed = [
        Stage(stage.name, stage.version, stage.needs, stage.settings, run, stage.uses, data=stage.data)
        if stage.name == name
        else stage
        for stage in graph.STAGES
    ]
    monkeypatch.setattr(graph, "STAGES", tuple(changed))


@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [
        (TrainingError("diverged"), TrainingError, "failed"),
        (KeyboardInterrupt(), Interrupted, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), TutelageError, "failed"),
    ],
)
def test_a_stage_that_ends_badly_leaves_nothing_half_written_and_is_taken_up_again(
    corpus: Path,
    tmp_path: Path,
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    raised: type[BaseException],
    status: str,
) -> None:
    with monkeypatch.context() as patch:
        failing(patch, "instruct", error)
        with pytest.raises(raised):
            run_recipe(recipe(corpus), tmp_path / "runs")
    record = json.loads((tmp_path / "runs" / "test" / "run.json").read_text())
    assert record["status"] == status
    assert next(stage for stage in record["stages"] if stage["stage"] == "instruct")["status"] == status
    assert "pretrain" in record["chat_model"]
    names = [path.name.split("-")[0] for path in (tmp_path / "runs" / "artifacts").iterdir()]
    assert sorted(names) == ["baselines", "classify", "corpus", "pretrain", "tokenizer"]
    planned = {state.stage: state for state in plan(recipe(corpus), ArtifactStore(tmp_path / "runs"))}
    assert planned["instruct"].status == "run" and "checkpoint" in planned["instruct"].why
    calls.clear()
    run_recipe(recipe(corpus), tmp_path / "runs")
    assert calls == ["instruct", "pairs", "prefer", "evaluate"]


def test_a_damaged_artifact_is_named_moved_aside_and_made_again(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    run = run_recipe(recipe(corpus), tmp_path / "runs")
    place = run.path / run.stage("pretrain")["artifact"] / "data.txt"
    place.write_text("x" + place.read_text()[1:])  # same length
    calls.clear()
    seen: list[dict[str, Any]] = []
    again = run_recipe(recipe(corpus), tmp_path / "runs", (seen.append,))
    assert calls == ["pretrain"] and again.record["status"] == "done"
    assert any("SHA-256" in event.get("message", "") for event in seen if event["event"] == "warning")
    assert list((tmp_path / "runs" / "artifacts").glob("damaged-pretrain-*"))


def test_two_processes_do_not_make_the_same_artifact(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    state = next(state for state in plan(recipe(corpus), ArtifactStore(tmp_path / "runs")) if state.stage == "corpus")
    assert state.identity is not None
    work = tmp_path / "runs" / "work"
    work.mkdir(parents=True)
    code = f"import fcntl,sys,time; f=open({str(work / ('corpus-' + state.identity[:12] + '.lock'))!r},'w'); " \
           "fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"  # fmt: skip
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(TutelageError, match="another process is making corpus"):
            run_recipe(recipe(corpus), tmp_path / "runs")
    finally:
        holder.kill()
        holder.wait()
    run_recipe(recipe(corpus), tmp_path / "runs")
    assert calls == ALL


def test_leftovers_of_killed_processes_are_removed(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    dead = tmp_path / "runs" / "artifacts" / ".pretrain-abc.999999999.tmp"
    alive = tmp_path / "runs" / "artifacts" / f".pretrain-abc.{os.getpid()}.tmp"
    for path in (dead, alive):
        path.mkdir(parents=True)
    run_recipe(recipe(corpus), tmp_path / "runs")
    assert not dead.exists() and alive.exists()


def test_targets_run_only_what_they_need(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    run_recipe(recipe(corpus), tmp_path / "runs", targets=("instruct",))
    assert calls == ["corpus", "tokenizer", "pretrain", "instruct"]
    assert [stage.name for stage in stages_for(("evaluate",))] == ALL


def test_own_data_is_checked_first_and_is_part_of_the_identity(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    data = tmp_path / "labels.csv"
    with pytest.raises(ConfigError, match=r"finetune.classify.data: the file .* does not exist"):
        plan(recipe(corpus, f"finetune.classify.data={data}"), ArtifactStore(tmp_path / "runs"))
    data.write_text("text,label\na,b\n")
    run_recipe(recipe(corpus, f"finetune.classify.data={data}"), tmp_path / "runs")
    calls.clear()
    data.write_text("text,label\na,c\n")
    run_recipe(recipe(corpus, f"finetune.classify.data={data}"), tmp_path / "runs")
    assert calls == ["classify", "evaluate"]


def test_own_preferences_need_no_sampling(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    (tmp_path / "p.jsonl").write_text("{}")
    run_recipe(recipe(corpus, f"finetune.prefer.data={tmp_path / 'p.jsonl'}"), tmp_path / "runs")
    assert "pairs" not in calls and "prefer" in calls


def test_lineage_goes_back_to_the_documents(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    run = run_recipe(recipe(corpus), tmp_path / "runs")
    found = lineage(run.path / run.stage("prefer")["artifact"])
    names = []
    while found.inputs:
        names.append(found.stage)
        found = found.inputs[0]
    assert names == ["prefer", "instruct", "corpus"] and found.stage == "source"
    assert lineage(run.path).stage == "evaluate"


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (["finetune.prefer.betta=1"], "unknown key 'finetune.prefer.betta'.*did you mean 'beta'"),
        (["pretrane.steps=1"], "unknown key 'pretrane'.*did you mean 'pretrain'"),
        (["pretrain.training.learning_rate=fast"], "learning_rate: input should be a valid number.*'fast'"),
        (["pretrain.context_length=4096"], "context_length .4096. is longer than model.max_position"),
        (["finetune.instruct=null"], "prefer needs finetune.instruct"),
        (["model.num_heads=5"], "multiple of num_kv_heads"),
        (["seed"], "not of the form key=value"),
        (["name=../x"], "name: string should match"),
    ],
)
def test_wrong_keys_and_contradictions_are_named(sets: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_recipe(None, sets)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: 1\nseed: 2\n", "line 2: key 'seed' is given twice"),
        ("seed: [1\n", "line 2"),
        ("- a\n", "must be a mapping"),
        ("corpus: {sauce: x}\n", "unknown key 'corpus.sauce'"),
    ],
)
def test_malformed_recipe_files_are_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_recipe(tmp_path / "r.yaml")
    with pytest.raises(ConfigError, match="does not exist"):
        load_recipe(tmp_path / "none.yaml")


def test_partial_sections_keep_their_defaults() -> None:
    changed = load_recipe(None, ["pretrain.training.steps=5", "finetune.prefer.beta=3e-1"])
    assert changed.pretrain.training.learning_rate == Recipe().pretrain.training.learning_rate
    assert changed.pretrain.training.steps == 5 and changed.finetune.prefer is not None
    assert changed.finetune.prefer.beta == 0.3


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].joinpath("recipes").glob("*.yaml")), ids=lambda p: p.stem
)
def test_shipped_recipes_are_valid(path: Path) -> None:
    assert load_recipe(path).name == path.stem


def test_any_work_is_seen(tmp_path: Path) -> None:
    assert not planning.any_work(tmp_path / "none") and not planning.any_work(tmp_path)
    (tmp_path / "checkpoint").write_text("")
    assert planning.any_work(tmp_path)
