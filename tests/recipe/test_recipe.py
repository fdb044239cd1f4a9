"""Recipes: defaults, overrides, errors; identities that change only where they should; the runner's promises."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fake_specs import Specs
from tutelage.recipe import locks
from tutelage.recipe import plan as planning
from tutelage.recipe.config import Recipe, load_recipe, setting
from tutelage.recipe.graph import life
from tutelage.recipe.lineage import lineage
from tutelage.recipe.plan import plan
from tutelage.recipe.run import run_recipe
from tutelage.store.artifacts import ArtifactStore
from tutelage.store.errors import ConfigError, Interrupted, TrainingError, TutelageError
from tutelage.store.events import read_events
from tutelage.store.stage import Job


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("Some text. " * 20)
    return folder


@pytest.fixture
def specs(monkeypatch: pytest.MonkeyPatch) -> Specs:
    return Specs(monkeypatch)


@pytest.fixture
def calls(specs: Specs) -> list[str]:
    """Names of the stages that really ran."""
    return specs.ran


def recipe(corpus: Path, *sets: str) -> Recipe:
    return load_recipe(None, [f"corpus.source={corpus}", "name=test", *sets])


ALL = ["corpus", "tokenizer", "base", "classify", "instruct", "prefer.pairs", "prefer", "baselines", "evaluate"]


def test_a_second_run_is_cached_and_a_changed_key_runs_only_what_depends_on_it(
    corpus: Path, tmp_path: Path, calls: list[str]
) -> None:
    run_recipe(recipe(corpus), tmp_path / "runs")
    assert calls == ALL
    second = run_recipe(recipe(corpus), tmp_path / "runs")
    assert calls == ALL and {stage["status"] for stage in second.record["stages"]} == {"cached"}
    for key, expected in {
        "finetune.prefer.beta=0.3": ["prefer", "evaluate"],
        "finetune.prefer.pairs.samples=2": ["prefer.pairs", "prefer", "evaluate"],
        "finetune.classify.max_tokens=40": ["classify", "evaluate"],
        "baselines.ngram_order=3": ["baselines", "evaluate"],
        "model.num_layers=2": ["base", "classify", "instruct", "prefer.pairs", "prefer", "evaluate"],
        "pretrain.training.threads=1": [],
        "corpus.engine=daft": [],
        "pretrain.training.checkpoint_seconds=1": [],
        # Another training seed sees the same documents, the same split and the same rivals.
        "seed=2": ["base", "classify", "instruct", "prefer.pairs", "prefer", "evaluate"],
        "data_seed=2": ALL,
    }.items():
        calls.clear()
        run_recipe(recipe(corpus, key), tmp_path / "runs")
        assert calls == expected, key


@pytest.mark.parametrize(
    "key", ["threads=1", "checkpoint_seconds=1", "keep_checkpoints=9", "layers_every=7", "parallel.shard=2"]
)
def test_how_a_stage_is_run_is_no_part_of_its_identity(key: str, corpus: Path) -> None:
    wanted = recipe(corpus)
    changed = recipe(corpus, *[f"{step}.training.{key}" for step in ("pretrain", "finetune.classify")])
    assert changed != wanted
    for node, before in zip(life(changed), life(wanted), strict=True):
        assert node.identity_config(changed) == before.identity_config(wanted)


def test_settings_and_seeds_go_into_an_identity_under_fixed_names(corpus: Path) -> None:
    """Another name for either would make every artifact again."""
    wanted = recipe(corpus, "seed=3", "data_seed=4")
    parts = {node.name: node.identity_config(wanted) for node in life(wanted)}
    assert parts["tokenizer"] == {"settings": wanted.tokenizer.plain(), "seeds": {"data": 4}}
    assert parts["instruct"]["seeds"] == {"training": 3, "data": 4} and set(parts["instruct"]) == {"settings", "seeds"}


def test_changed_text_changes_everything(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    run_recipe(recipe(corpus), tmp_path / "runs")
    calls.clear()
    (corpus / "a.txt").write_text("Other text. " * 20)
    run_recipe(recipe(corpus), tmp_path / "runs")
    assert calls == ALL


def test_the_run_folder_tells_what_happened(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    run = run_recipe(recipe(corpus), tmp_path / "runs", forecast={"base": 3.0})
    record = json.loads((run.path / "run.json").read_text())
    assert record["status"] == "done" and record["forecast"] == {"base": 3.0}
    assert [stage["stage"] for stage in record["stages"]] == ALL
    assert (run.path / record["chat_model"] / "data.txt").read_text().startswith("prefer")
    assert Recipe.parse(yaml.safe_load((run.path / "recipe.yaml").read_text())) == recipe(corpus)
    kinds = [event["event"] for event in read_events(run.path / "events.jsonl")]
    assert kinds[0] == "run_start" and kinds[-1] == "run_end" and kinds.count("stage_end") == len(ALL)
    assert (tmp_path / "runs" / "latest").read_text() == "test\n"


def test_what_nobody_needs_is_not_made(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    run = run_recipe(recipe(corpus, "finetune.instruct=null", "finetune.prefer=null"), tmp_path / "runs")
    assert calls == ["corpus", "tokenizer", "base", "classify", "baselines", "evaluate"]
    assert [stage["stage"] for stage in run.record["stages"]] == calls
    assert "pretrain" in run.record["chat_model"]


def test_finetuning_an_adopted_model_on_a_file_needs_no_corpus(tmp_path: Path, calls: list[str]) -> None:
    (tmp_path / "pairs.jsonl").write_text("{}")
    wanted = {"better": {"method": "prefer", "data": str(tmp_path / "pairs.jsonl")}}
    run_recipe(Recipe.parse({"name": "own", "base": "smollm2", "finetune": wanted}), tmp_path / "runs")
    assert calls == ["base", "better", "evaluate"]


def test_an_adopted_model_may_be_pretrained_further(corpus: Path) -> None:
    further = Recipe.parse(
        {"base": "smollm2", "corpus": {"source": str(corpus)}, "pretrain": {"training": {"steps": 9}}}
    )
    nodes = {node.name: node for node in life(further)}
    assert list(nodes) == ["corpus", "source", "base", "baselines", "evaluate"]
    assert nodes["base"].inputs == {"corpus": "corpus", "model": "source"} and nodes["base"].spec.kind == "pretrain"


def test_steps_may_be_named_freely_and_stand_in_any_order(corpus: Path) -> None:
    steps = {
        "second": {"method": "instruct", "from": "first", "task": "docstrings"},
        "first": {"method": "instruct", "task": "docstrings"},
        "stars": {"method": "classify", "from": "second", "task": "labels"},
    }
    nodes = life(Recipe.parse({"finetune": steps, "corpus": {"source": str(corpus)}}))
    assert [node.name for node in nodes][3:6] == ["first", "second", "stars"]
    inputs = {node.name: node.inputs.get("model") for node in nodes}
    assert (inputs["first"], inputs["second"], inputs["stars"]) == ("base", "first", "second")


def failing(specs: Specs, name: str, error: BaseException) -> None:
    def run(job: Job) -> dict[str, Any]:
        (job.out / "half.txt").write_text("half")
        (job.work / "checkpoint").write_text("kept")
        raise error

    specs.changes[name] = {"run": run}


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
    specs: Specs,
    error: BaseException,
    raised: type[BaseException],
    status: str,
) -> None:
    failing(specs, "instruct", error)
    with pytest.raises(raised):
        run_recipe(recipe(corpus), tmp_path / "runs")
    specs.changes.clear()
    record = json.loads((tmp_path / "runs" / "test" / "run.json").read_text())
    assert record["status"] == status
    assert next(stage for stage in record["stages"] if stage["stage"] == "instruct")["status"] == status
    assert "pretrain" in record["chat_model"]
    names = [path.name.split("-")[0] for path in (tmp_path / "runs" / "artifacts").iterdir()]
    assert sorted(names) == ["classify", "corpus", "pretrain", "tokenizer"]
    planned = {state.stage: state for state in plan(recipe(corpus), ArtifactStore(tmp_path / "runs"))}
    assert planned["instruct"].status == "run" and "checkpoint" in planned["instruct"].why
    calls.clear()
    run_recipe(recipe(corpus), tmp_path / "runs")
    assert calls == ["instruct", "prefer.pairs", "prefer", "baselines", "evaluate"]


def test_a_damaged_artifact_is_named_moved_aside_and_made_again(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    run = run_recipe(recipe(corpus), tmp_path / "runs")
    place = run.path / run.stage("base")["artifact"] / "data.txt"
    place.write_text("x" + place.read_text()[1:])  # same length
    planned = {state.stage: state for state in plan(recipe(corpus), ArtifactStore(tmp_path / "runs"))}
    assert planned["base"].status == "damaged" and "SHA-256" in planned["base"].why
    calls.clear()
    seen: list[dict[str, Any]] = []
    again = run_recipe(recipe(corpus), tmp_path / "runs", (seen.append,))
    assert calls == ["base"] and again.record["status"] == "done"
    assert any("SHA-256" in event.get("message", "") for event in seen if event["event"] == "warning")
    assert list((tmp_path / "runs" / "artifacts").glob("damaged-pretrain-*"))


@contextlib.contextmanager
def held(lock: Path) -> Iterator[None]:
    """Another process holds the lock."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    code = f"import fcntl,time; f=open({str(lock)!r},'w'); fcntl.flock(f,fcntl.LOCK_EX); print('held',flush=True); " \
           "time.sleep(60)"  # fmt: skip
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        yield
    finally:
        holder.kill()
        holder.wait()


def test_two_processes_do_not_make_the_same_artifact(
    corpus: Path, tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    store = ArtifactStore(tmp_path / "runs")
    identity = next(state.identity for state in plan(recipe(corpus), store) if state.stage == "corpus")
    assert identity is not None
    with (
        held(tmp_path / "runs" / "work" / f"corpus-{identity[:12]}.lock"),
        pytest.raises(TutelageError, match="another process is making corpus") as refused,
    ):
        run_recipe(recipe(corpus), tmp_path / "runs")
    assert refused.value.exit_code == 1 and "--out" in str(refused.value.hint) and calls == []
    run_recipe(recipe(corpus), tmp_path / "runs")
    assert calls == ALL


def test_two_processes_do_not_run_the_same_recipe(
    corpus: Path, tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    run = run_recipe(recipe(corpus), tmp_path / "runs")
    before = (run.path / "run.json").read_bytes()
    with held(tmp_path / "runs" / "work" / "run-test.lock"):
        with pytest.raises(TutelageError, match="another process is running the recipe test"):
            run_recipe(recipe(corpus), tmp_path / "runs")
        assert (run.path / "run.json").read_bytes() == before  # the other one's record is not touched
        run_recipe(recipe(corpus, "name=other"), tmp_path / "runs")
    assert not list((tmp_path / "runs" / "work").glob("*other*"))


def test_a_lock_held_briefly_is_waited_for(tmp_path: Path) -> None:
    with contextlib.ExitStack() as other:
        other.enter_context(held(tmp_path / "a.lock"))
        timer = threading.Timer(0.3, other.close)
        timer.start()
        with locks.exclusive(tmp_path / "a.lock", "busy", patience=20):
            pass
        timer.join()


def test_leftovers_of_killed_processes_are_removed(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    artifacts = tmp_path / "runs" / "artifacts"
    dead = [artifacts / ".pretrain-abc.99.tmp", artifacts / ".pretrain-abc.99.old"]
    alive = artifacts / ".instruct-abc.98.tmp"
    for path in (*dead, alive):
        path.mkdir(parents=True)
    with held(tmp_path / "runs" / "work" / "instruct-abc.lock"):
        run_recipe(recipe(corpus), tmp_path / "runs")
    assert not any(path.exists() for path in dead) and alive.exists()


def test_artifacts_left_without_their_manifest_are_made_again(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    run = run_recipe(recipe(corpus), tmp_path / "runs")
    (run.path / run.stage("corpus")["artifact"] / "manifest.json").unlink()
    calls.clear()
    assert run_recipe(recipe(corpus), tmp_path / "runs").record["status"] == "done"
    assert calls == ["corpus"]


def test_sigterm_is_an_interruption(corpus: Path, tmp_path: Path, calls: list[str], specs: Specs) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def terminated(job: Job) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        return {}

    specs.changes["tokenizer"] = {"run": terminated}
    with pytest.raises(Interrupted, match="stopped") as stopped:
        run_recipe(recipe(corpus), tmp_path / "runs")
    assert stopped.value.exit_code == 143 and "same command" in str(stopped.value.hint)
    assert signal.getsignal(signal.SIGTERM) == before
    record = json.loads((tmp_path / "runs" / "test" / "run.json").read_text())
    assert record["status"] == "interrupted" and record["stages"][1]["status"] == "interrupted"


@pytest.mark.parametrize("error", [
    RuntimeError("I/O error: No space left on device (os error 28)"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
])  # fmt: skip
def test_a_full_disk_is_named_whoever_notices_it(
    corpus: Path, tmp_path: Path, calls: list[str], specs: Specs, error: Exception
) -> None:
    failing(specs, "base", error)
    with pytest.raises(TutelageError, match=r"the disk of .* is full") as full:
        run_recipe(recipe(corpus), tmp_path / "runs")
    assert full.value.exit_code == 1 and "free some space" in str(full.value.hint)


def test_a_folder_that_cannot_be_written_is_named(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TutelageError, match="cannot write to"):
        run_recipe(recipe(corpus), tmp_path / "file")


def test_figures_that_are_not_finite_do_not_lose_the_stage(
    corpus: Path, tmp_path: Path, calls: list[str], specs: Specs
) -> None:
    specs.changes["baselines"] = {"run": lambda job: {"perplexity": float("inf"), "share": float("nan")}}
    run = run_recipe(recipe(corpus), tmp_path / "runs")
    assert run.stage("baselines")["metrics"]["perplexity"] == "inf"
    assert json.loads((run.path / "run.json").read_text())["status"] == "done"


def test_an_event_cut_short_by_a_kill_takes_no_other_with_it(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    run = run_recipe(recipe(corpus), tmp_path / "runs")
    events = run.path / "events.jsonl"
    events.write_bytes(events.read_bytes() + b'{"event": "st')
    run_recipe(recipe(corpus), tmp_path / "runs")
    assert [event["event"] for event in read_events(events)].count("run_start") == 2


def test_one_stage_alone_leaves_the_rest_of_the_run_in_its_record(
    corpus: Path, tmp_path: Path, calls: list[str]
) -> None:
    run_recipe(recipe(corpus), tmp_path / "runs")
    calls.clear()
    run = run_recipe(recipe(corpus), tmp_path / "runs", targets=("corpus",))
    assert calls == [] and {stage["status"] for stage in run.record["stages"]} == {"cached"}
    assert "prefer" in run.record["chat_model"]
    run = run_recipe(recipe(corpus, "pretrain.training.steps=3"), tmp_path / "runs", targets=("base",))
    states = {stage["stage"]: stage["status"] for stage in run.record["stages"]}
    assert calls == ["base"] and states["base"] == "ran" and states["baselines"] == "cached"
    assert states["instruct"] == states["evaluate"] == "pending" and "pretrain" in run.record["chat_model"]


def test_a_corpus_that_cannot_feed_a_stage_skips_it_and_what_hangs_on_it(
    corpus: Path, tmp_path: Path, calls: list[str], specs: Specs
) -> None:
    specs.changes["instruct"] = {"reason": "no signatures"}
    store = ArtifactStore(tmp_path / "runs")
    before = {state.stage: state for state in plan(recipe(corpus), store)}
    assert {name for name, state in before.items() if state.status == "unknown"} == {
        "instruct",
        "prefer.pairs",
        "prefer",
    }
    assert before["evaluate"].status == "run" and before["evaluate"].identity is None
    assert before["evaluate"].why == "includes instruct if it runs"
    assert before["prefer"].why == "runs if instruct does"
    assert before["instruct"].identity and "corpus" in before["instruct"].why
    run = run_recipe(recipe(corpus), tmp_path / "runs")
    assert calls == ["corpus", "tokenizer", "base", "classify", "baselines", "evaluate"]
    assert run.stage("instruct")["why"] == "no signatures" and "instruct" in run.stage("prefer")["why"]
    after = {state.stage: state.status for state in plan(recipe(corpus), store)}
    assert set(after.values()) == {"cached", "skipped"}


def test_a_stage_is_asked_with_the_artifacts_that_are_there_and_then_runs(
    corpus: Path, tmp_path: Path, specs: Specs
) -> None:
    specs.changes["instruct"] = {"reason": None}
    run = run_recipe(recipe(corpus), tmp_path / "runs", targets=("corpus",))
    planned = {state.stage: state for state in plan(recipe(corpus), ArtifactStore(tmp_path / "runs"))}
    assert (planned["corpus"].status, planned["corpus"].why) == ("cached", "")
    assert (planned["instruct"].status, planned["instruct"].why) == ("run", "")
    assert planned["prefer"].status == planned["evaluate"].status == "run" and planned["evaluate"].identity
    (asked,) = specs.asked["instruct"].items()
    assert asked[0] == "corpus" and asked[1].samefile(run.path / run.stage("corpus")["artifact"])


def test_a_step_whose_pairs_cannot_be_made_is_skipped_and_the_figures_are_made_without_it(
    corpus: Path, tmp_path: Path, calls: list[str], specs: Specs
) -> None:
    specs.changes["pairs"] = {"reason": "too little text"}
    run = run_recipe(recipe(corpus), tmp_path / "runs")
    assert run.stage("prefer.pairs")["why"] == "too little text" and "prefer.pairs" in run.stage("prefer")["why"]
    assert calls == ["corpus", "tokenizer", "base", "classify", "instruct", "baselines", "evaluate"]


def test_what_is_there_stays_although_what_it_was_made_of_is_gone(
    corpus: Path, tmp_path: Path, calls: list[str], specs: Specs
) -> None:
    specs.changes["instruct"] = {"reason": None}
    run = run_recipe(recipe(corpus), tmp_path / "runs")
    for name in ("corpus", "instruct"):
        (run.path / run.stage(name)["artifact"] / "manifest.json").unlink()
    planned = {state.stage: state.status for state in plan(recipe(corpus), ArtifactStore(tmp_path / "runs"))}
    assert planned.pop("corpus") == "run" and planned.pop("instruct") == "unknown"
    assert set(planned.values()) == {"cached"}


def test_a_step_on_own_data_does_not_wait_for_a_corpus(tmp_path: Path, specs: Specs) -> None:
    specs.changes["prefer"] = {"reason": "never asked: there is no corpus"}
    (tmp_path / "pairs.jsonl").write_text("{}")
    wanted = {"better": {"method": "prefer", "data": str(tmp_path / "pairs.jsonl")}}
    planned = plan(Recipe.parse({"base": "smollm2", "finetune": wanted}), ArtifactStore(tmp_path / "runs"))
    assert [state.status for state in planned] == ["run"] * 3 and not specs.asked


def test_what_a_plan_names_is_what_the_run_makes(corpus: Path, tmp_path: Path, calls: list[str], specs: Specs) -> None:
    specs.changes["instruct"] = {"reason": None}
    planned = {state.stage: state.identity for state in plan(recipe(corpus), ArtifactStore(tmp_path / "runs"))}
    run = run_recipe(recipe(corpus), tmp_path / "runs")
    made = {stage["stage"]: stage["identity"] for stage in run.record["stages"]}
    assert planned.pop("evaluate") is None and planned == {name: made[name] for name in planned}
    assert not (tmp_path / "runs" / "work").exists() or not list((tmp_path / "runs" / "work").iterdir())


def test_targets_run_only_what_they_need(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    run_recipe(recipe(corpus), tmp_path / "runs", targets=("instruct",))
    assert calls == ["corpus", "tokenizer", "base", "instruct"]
    assert [node.name for node in life(recipe(corpus), ("evaluate",))] == ALL
    with pytest.raises(ConfigError, match=r"no stage 'instrct'.*instruct"):
        life(recipe(corpus), ("instrct",))


def test_own_data_is_checked_first_and_is_part_of_the_identity(
    corpus: Path, tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "labels.csv"
    with pytest.raises(ConfigError, match=r"finetune.classify.data: .* does not exist"):
        plan(recipe(corpus, f"finetune.classify.data={data}"), ArtifactStore(tmp_path / "runs"))
    data.write_text("text,label\na,b\n")
    run_recipe(recipe(corpus, f"finetune.classify.data={data}"), tmp_path / "runs")
    calls.clear()
    data.write_text("text,label\na,c\n")
    run_recipe(recipe(corpus, f"finetune.classify.data={data}"), tmp_path / "runs")
    assert calls == ["classify", "evaluate"]
    calls.clear()
    monkeypatch.setenv("HOME", str(tmp_path))  # wherever the file lies, it is the same one
    run_recipe(recipe(corpus, "finetune.classify.data=~/labels.csv"), tmp_path / "runs")
    assert calls == []


def test_own_preferences_need_no_sampling(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    (tmp_path / "p.jsonl").write_text("{}")
    run_recipe(recipe(corpus, f"finetune.prefer.data={tmp_path / 'p.jsonl'}"), tmp_path / "runs")
    assert "prefer.pairs" not in calls and "prefer" in calls


def test_lineage_goes_back_to_the_documents(corpus: Path, tmp_path: Path, calls: list[str]) -> None:
    run = run_recipe(recipe(corpus), tmp_path / "runs")
    found = lineage(run.path / run.stage("prefer")["artifact"])
    assert {ancestor.stage for ancestor in found.inputs} == {"instruct", "pairs"}
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
        (["finetune.instruct=null"], "finetune.prefer.from: there is no step 'instruct'"),
        (["finetune.prefer.from=null"], "finetune.prefer.from is missing"),
        (["finetune.classify.method=clasify"], "unknown finetuning method 'clasify'.*did you mean 'classify'"),
        (["finetune.instruct.task=docstring"], "no task 'docstring'.*did you mean 'docstrings'"),
        (["finetune.instruct.task=null"], "no rows to learn from"),
        (["finetune.prefer.task=labels"], "has no rule to rank answers by"),
        (["finetune.prefer.from=classify"], "'classify' is a classifier"),
        (["finetune.instruct.from=prefer"], "is a circle"),
        (["finetune.base={method: classify, task: labels}"], "'base' is not a valid name for a step"),
        (["finetune.mine={task: labels}"], "finetune.mine.method is missing"),
        (["evaluate.models=[instrct]"], "no model 'instrct'.*did you mean 'instruct'"),
        (["evaluate.tasks=[txt]"], "no 'txt'.*did you mean 'text'"),
        (["base=smollm2", "model.num_layers=2"], "leave out the section 'model'"),
        (["pretrain=null"], "nothing would be trained"),
        (["adopt.source=smollm2"], "`adopt` is now `base`"),
        (["finetune.pairs.samples=2"], "belongs to the step that learns from the pairs.*finetune.prefer.pairs"),
        (["finetune.instruct.max_pairs=2"], "is now `finetune.instruct.max_rows`"),
        (["model.num_kv_heads=3"], "multiple of num_kv_heads"),
        (["seed"], "not of the form key=value"),
        (["name=../x"], "is no name of a run"),
        (["name=work"], "reserved by the store"),
        (["seed=[1"], "not valid YAML"),
        (["pretrain.training.steps.more=3"], "steps"),
        (["=3"], "not of the form key=value"),
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
        ("? [a]\n: 1\n", "line 1: a list or mapping is not a valid key"),
        ("1: 2\n", "line 1: '1' is not a valid key"),
        ("model: &m {num_layers: 2}\nbaselines: *none\n", "line 2: found undefined alias"),
        ("seed: !!python/object/apply:os.getcwd []\n", "line 1"),
        ("corpus: {sauce: x}\n", "unknown key 'corpus.sauce'"),
        ("", "is empty"),
        ("# steps: 3\n", "is empty"),
        ("pretrain: {training: {steps: yes}}\n", "pretrain.training.steps: input should be a number, got true"),
        ("pretrain: {training: {learning_rate: off}}\n", "learning_rate: input should be a number, got false"),
        (f"name: {'x' * 101}\n", "the name has 101 characters"),
        ("name: my run\n", "'my run' is no name of a run"),
    ],
)
def test_malformed_recipe_files_are_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_recipe(tmp_path / "r.yaml")
    with pytest.raises(ConfigError, match="does not exist"):
        load_recipe(tmp_path / "none.yaml")


def test_what_is_no_recipe_at_all_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes("name: größe\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"not UTF-8 .at byte 8.*save it as UTF-8"):
        load_recipe(tmp_path / "r.yaml")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    with pytest.raises(ConfigError, match=r"a file of rows, not a recipe.*tutelage finetune METHOD"):
        load_recipe(tmp_path / "rows.jsonl")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_recipe(tmp_path)
    (tmp_path / "r.yaml").write_text("{}\n")
    assert load_recipe(tmp_path / "r.yaml").name == "quickstart"


@pytest.mark.parametrize(
    ("given", "hint"),
    [("rows.csv", "begins at the current folder, "), ("$DATA/rows.csv", "environment variables"), ("/no/rows.csv", "")],
)
def test_a_path_that_leads_nowhere_says_where_it_was_looked_for(
    given: str, hint: str, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="does not exist") as error:
        plan(recipe(corpus, f"finetune.classify.data={given}"), ArtifactStore(tmp_path / "runs"))
    assert hint in (error.value.hint or "") and bool(hint) == bool(error.value.hint)


def test_recipe_files_may_share_settings_by_anchors(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "pretrain: {training: &t {batch_rows: 4, steps: 7}}\n"
        "finetune: {instruct: {task: docstrings, training: {<<: *t, steps: 9}}}\n"
    )
    wanted = load_recipe(tmp_path / "r.yaml").finetune["instruct"].settings.training
    assert (wanted.batch_rows, wanted.steps) == (4, 9)


@pytest.mark.parametrize("text", ["2024", "no", "a: b", "x #y", "null", "hf:a/b:train", 'say "é"'])
def test_text_given_as_an_option_is_taken_to_the_letter(text: str) -> None:
    assert load_recipe(None, [setting("corpus.source", text)]).corpus.source == text


def test_a_step_given_as_null_is_left_out() -> None:
    assert list(load_recipe(None, ["finetune.prefer=null"]).finetune) == ["classify", "instruct"]
    assert load_recipe(None, ["finetune=null"]).finetune == {}


def test_partial_sections_keep_their_defaults() -> None:
    changed = load_recipe(None, ["pretrain.training.steps=5", "finetune.prefer.beta=3e-1"])
    whole = load_recipe(None)
    assert changed.pretrain and whole.pretrain
    assert changed.pretrain.training.learning_rate == whole.pretrain.training.learning_rate
    assert changed.pretrain.training.steps == 5
    settings, before = changed.finetune["prefer"].settings, whole.finetune["prefer"].settings
    assert settings.model_dump()["beta"] == 0.3 and settings.training == before.training


def test_the_quickstart_without_a_file_is_the_shipped_one() -> None:
    shipped = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
    assert load_recipe(None) == load_recipe(shipped)


def test_a_recipe_that_names_no_step_finetunes_nothing(corpus: Path) -> None:
    assert [node.name for node in life(Recipe.parse({"corpus": {"source": str(corpus)}}))] == [
        "corpus", "tokenizer", "base", "baselines", "evaluate"
    ]  # fmt: skip


def test_the_users_file_is_read_before_anything_long(corpus: Path, tmp_path: Path, specs: Specs) -> None:
    def audit(config: Any, log: Any) -> int | None:
        raise TutelageError("line 3 is wrong")

    specs.audit = audit
    data = tmp_path / "labels.csv"
    data.write_text("text,label\n")
    with pytest.raises(TutelageError, match=r"finetune\.classify: line 3 is wrong"):
        run_recipe(recipe(corpus, f"finetune.classify.data={data}"), tmp_path / "runs")
    assert specs.ran == []


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].joinpath("recipes").glob("*.yaml")), ids=lambda p: p.stem
)
def test_shipped_recipes_are_valid(path: Path) -> None:
    assert load_recipe(path).name == path.stem


def test_any_work_is_seen(tmp_path: Path) -> None:
    assert not planning.any_work(tmp_path / "none") and not planning.any_work(tmp_path)
    (tmp_path / "checkpoint").write_text("")
    assert planning.any_work(tmp_path)
