"""The bench on real runs of a model of a few thousand parameters, through the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from corpus_fixture import tiny_rows
from tutelage.ablation import bench
from tutelage.ablation.arms import arms_of
from tutelage.ablation.judge import paired, scores_of
from tutelage.ablation.runs import Runner
from tutelage.cli.main import main
from tutelage.store.errors import InputError, Interrupted

Capture = pytest.CaptureFixture[str]
RATE = "pretrain.training.learning_rate"


def write_recipe(folder: Path, rows: int = 160, steps: int = 12) -> Path:
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in tiny_rows(rows)))
    path = folder / "tiny.yaml"
    path.write_text(
        f"name: tiny\ncorpus: {{source: {source}, heldout: 0.2, max_overlap: 0.6, measure_selection: false}}\n"
        "tokenizer: {vocab_size: 320}\n"
        "model: {hidden_size: 16, intermediate_size: 32, num_layers: 1, num_heads: 2, num_kv_heads: 1, "
        "max_position_embeddings: 160}\n"
        f"pretrain: {{context_length: 32, training: {{steps: {steps}, batch_rows: 4, precision: float32, threads: 1, "
        f"learning_rate: 0.01, log_every: 4, layers_every: 0, validate_every: {steps // 2}, validation_rows: 4}}}}\n"
        "finetune: {}\n"
    )
    return path


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def asked(capsys: Capture, *arguments: object) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = call("ablate", *arguments, "--json")
    return code, json.loads(capsys.readouterr().out)


def test_a_planted_bad_arm_is_worse_a_twin_is_not_and_a_better_one_is_found(
    recipe: Path, store: Path, capsys: Capture
) -> None:
    code, found = asked(capsys, recipe, "--vary", f"{RATE}=1e-2,1e-4,0.01", "--out", store)
    outcomes = {arm["arm"]: arm["outcome"] for arm in found["arms"]}
    assert outcomes == {
        "learning_rate=1e-2": "first",
        "learning_rate=1e-4": "worse",
        "learning_rate=0.01": "not distinguishable",
    }
    assert code == found["code"] == 3
    twin, first = found["arms"][2], found["arms"][0]
    assert twin["values"] == first["values"][:2] and "bit for bit" in twin["verdict"]
    assert found["noise"]["deviation"] > 0
    assert found["arms"][1]["per"]["step"]["outcome"] == found["arms"][1]["per"]["parameter"]["outcome"] == "worse"
    again, better = asked(capsys, recipe, "--vary", f"{RATE}=1e-4,1e-2", "--out", store)
    assert (again, better["arms"][1]["outcome"], better["stages_run"]) == (0, "better", 0)
    assert (found["tried"], better["tried"]) == (2, 3)


def test_nothing_is_run_twice_and_the_same_question_is_the_same_try(recipe: Path, store: Path, capsys: Capture) -> None:
    code, found = asked(capsys, recipe, "--vary", f"{RATE}=1e-2,1e-4,0.01", "--out", store)
    assert (code, found["stages_run"], found["tried"]) == (3, 0, 3)


def test_the_noise_comes_first_and_the_page_stands_alone(recipe: Path, store: Path, capsys: Capture) -> None:
    assert call("ablate", recipe, "--vary", f"{RATE}=1e-2,1e-4", "--out", store) == 3
    said = capsys.readouterr().out
    assert 0 < said.index("Noise floor") < said.index("learning_rate=1e-4, seed 1") < said.index("is worse than")
    assert "An effect of 1 % needs" in said
    page = (store / "ablations" / "tiny" / "ablation.html").read_text()
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert "learning_rate=1e-4 is worse than" in page and 'class="forest worse"' in page
    assert json.loads((store / "ablations" / "tiny" / "ablation.json").read_text())["format"] == 2
    assert not (store / "latest").exists()  # `tutelage chat` is not to talk to an arm


def test_one_seed_is_too_few(recipe: Path, store: Path, capsys: Capture) -> None:
    code, found = asked(
        capsys, recipe, "--vary", f"{RATE}=1e-2,1e-4", "--seeds", 1, "--out", store, "--question", "one"
    )
    assert (code, found["arms"][1]["outcome"], found["noise"]) == (4, "too few seeds", None)


def test_an_arm_that_cannot_be_trained_has_lost(
    recipe: Path, store: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tutelage.store.errors import TrainingError

    whole = Runner.model

    def breaks(self: Runner, arm: Any, seed: int) -> Any:
        if arm.recipe.pretrain.training.learning_rate == 1e-4:
            raise TrainingError("the loss is not finite")
        return whole(self, arm, seed)

    monkeypatch.setattr(Runner, "model", breaks)
    code, found = asked(capsys, recipe, "--vary", f"{RATE}=1e-2,1e-4", "--out", store, "--question", "broken")
    assert (code, found["arms"][1]["outcome"]) == (3, "failed")
    assert "not finite" in found["overall"]


def test_stopped_in_the_middle_it_goes_on_where_it_was(
    recipe: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = bench.Question("stopped", tuple(arms_of(recipe, ["seed=7"], [f"{RATE}=1e-2,9e-3"])), seeds=2)
    whole, seen = Runner.model, list[str]()

    def stopped(self: Runner, arm: Any, seed: int) -> Any:
        if len(seen) == 3:
            raise Interrupted("stopped")
        seen.append(f"{arm.name} {seed}")
        return whole(self, arm, seed)

    monkeypatch.setattr(Runner, "model", stopped)
    with pytest.raises(Interrupted):
        bench.ask(question, store)
    monkeypatch.setattr(Runner, "model", whole)
    found = bench.ask(question, store)
    assert found.started == 1 and found.tried == 1  # the fourth run alone


def test_a_wrong_key_is_an_error_before_anything_is_written(recipe: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "none"
    assert call("ablate", recipe, "--vary", "pretrain.training.learning_rat=1,2", "--out", out) == 2
    assert "did you mean 'learning_rate'" in capsys.readouterr().err
    assert call("ablate", recipe, "--vary", "pretrain.training.steps=1,2", "--out", out) == 2
    assert "holds equal" in capsys.readouterr().err
    assert call("ablate", recipe, "--vary", f"{RATE}=1,2", "--match", "stepz", "--out", out) == 2
    assert "did you mean 'steps'" in capsys.readouterr().err
    assert call("ablate", recipe, "--vary", f"{RATE}=1,2", "--question", "../up", "--out", out) == 2
    assert not out.exists()


def test_equal_tokens_and_seconds_change_the_steps(recipe: Path, store: Path) -> None:
    from tutelage.ablation.arms import training_of
    from tutelage.ablation.runs import matched

    arms = arms_of(recipe, [], ["pretrain.training.batch_rows=4,8"])
    runner = Runner(store, store / "ablations" / "t", "base")
    steps = [training_of(arm.recipe, "base").steps for arm in matched(arms, runner, "tokens", print)]
    assert steps == [12, 6]
    told: list[str] = []
    first, other = matched(arms, runner, "seconds", told.append)
    assert training_of(first.recipe, "base").steps == 12 and len(told) == 2
    before = runner.started
    again = matched(arms, Runner(store, store / "ablations" / "t", "base"), "seconds", told.append)
    assert again[1].recipe == other.recipe and runner.started == before  # the measured pace is kept


def test_arms_that_select_text_differently_are_measured_on_what_both_hold_out(
    recipe: Path, store: Path, capsys: Capture
) -> None:
    code, found = asked(
        capsys, recipe, "--vary", "corpus.heldout=0.2,0.1", "--out", store, "--question", "text", "--seeds", 2
    )
    assert found["items_left_out"] > 0 and found["items"] + found["items_left_out"] > 20 and code in (0, 3, 4)


def test_a_step_of_finetuning_is_measured_on_its_own_held_out_answers(
    recipe: Path, store: Path, capsys: Capture
) -> None:
    step = "{method: instruct, task: docstrings, context_length: 128, training: {steps: 4, batch_rows: 4, threads: 1}}"
    code, found = asked(
        capsys, recipe, "--set", f"finetune.chat={step}", "--vary", "finetune.chat.training.learning_rate=1e-2,1e-6",
        "--out", store, "--seeds", 2, "--question", "chat",
    )  # fmt: skip
    assert found["of"] == "chat" and found["unit"] == "answers" and found["arms"][1]["outcome"] != "better"
    assert found["arms"][0]["mean"] < found["arms"][1]["mean"], code


def test_the_self_test_takes_the_noise_that_was_measured(recipe: Path, store: Path, capsys: Capture) -> None:
    from tutelage.ablation.write import known_noise

    known = known_noise(store, "tiny")
    assert known and known.seed > 0 and len(known.sizes) > 10
    assert known_noise(store, "never") is None
    code, found = asked(capsys, recipe, "--self-test", "--out", store)
    assert found["measured_noise"] is True and code in (0, 1)
    assert found["checks"][0]["passed"] is True


def test_documents_that_no_arm_has_in_common_are_an_error(tmp_path: Path) -> None:
    from corpus_fixture import make_tiny_corpus
    from tutelage.ablation.measure import corpus_items

    one, two = (make_tiny_corpus(tmp_path / name, seed) for name, seed in (("one", 1), ("two", 2)))
    assert corpus_items([one.path, one.path], 5).cut == len({item.text for item in one.heldout}) - 5
    two_only = [item for item in two.heldout if item.text not in {other.text for other in one.heldout}]
    from tutelage.corpus.document import write_documents

    write_documents(two.path / "heldout.parquet", two_only)
    with pytest.raises(InputError, match="no held-out document in common"):
        corpus_items([one.path, two.path], 100)


@pytest.mark.slow
def test_killed_for_nothing(tmp_path: Path) -> None:
    """SIGKILL in the middle of the runs; the same command ends as an undisturbed one."""
    recipe = write_recipe(tmp_path)
    command = [sys.executable, "-m", "tutelage", "ablate", str(recipe), "--vary", f"{RATE}=1e-2,9e-3,8e-3",
               "--seeds", "3", "--json"]  # fmt: skip
    process = subprocess.Popen([*command, "--out", str(tmp_path / "killed")], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env=dict(os.environ))  # fmt: skip
    end = time.monotonic() + 120
    while len(list((tmp_path / "killed").glob("artifacts/pretrain-*/manifest.json"))) < 3:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(list((tmp_path / "killed").glob("artifacts/pretrain-*/manifest.json")))
    results = []
    for folder in ("killed", "straight"):
        done = subprocess.run([*command, "--out", str(tmp_path / folder)], capture_output=True, text=True, timeout=300)
        results.append(json.loads(done.stdout))
    killed, straight = results
    assert [arm["values"] for arm in killed["arms"]] == [arm["values"] for arm in straight["arms"]]
    assert killed["stages_run"] == straight["stages_run"] - 2 - before  # corpus and tokenizer too
    assert killed["tried"] == straight["tried"] == 2


@pytest.mark.slow
def test_real_equal_arms_are_seldom_told_apart(tmp_path: Path) -> None:
    """Twenty pairs of real arms that differ in nothing but their seeds: not more than one is "better" or "worse"."""
    recipe = write_recipe(tmp_path)
    (arm, _) = arms_of(recipe, [], [f"{RATE}=1e-2,9e-3"])
    runner = Runner(tmp_path / "store", tmp_path / "store" / "runs", "base")
    from tutelage.ablation.measure import corpus_items, measured
    from tutelage.evaluation.config import EvaluateConfig
    from tutelage.store.artifacts import ArtifactStore
    from tutelage.store.events import EventLog

    items = corpus_items([runner.corpus(arm)], 500)
    bits = [
        measured(items, runner.model(arm, seed), ArtifactStore(tmp_path / "store"), EvaluateConfig(), EventLog())
        for seed in range(120)
    ]
    outcomes = []
    for pair in range(20):
        first, other = (
            scores_of(bits[6 * pair + side : 6 * pair + side + 3], items.sizes, items.clusters) for side in (0, 3)
        )
        outcomes.append(paired(other, first, 3, 0.01 * float(first.per_byte.mean())).outcome)
    assert sum(outcome in ("better", "worse") for outcome in outcomes) <= 1, outcomes
