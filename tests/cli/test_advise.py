"""`tutelage advise`: of a recipe and of a run, and what `--fix` writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tutelage.cli.main import main
from tutelage.recipe.config import load_recipe

Capture = pytest.CaptureFixture[str]


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("A sentence of some words that says little. " * 40_000)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"# mine\nname: mine\ncorpus: {{source: {tmp_path / 'texts'}}}\ntokenizer: {{vocab_size: 512}}\n"
        "pretrain: {training: {learning_rate: 0.3, warmup_steps: 5000}}\nfinetune: {}\n"
    )
    return path


def test_fix_writes_a_new_file_shows_what_changes_and_the_rest_stays(
    recipe: Path, tmp_path: Path, capsys: Capture
) -> None:
    before = recipe.read_text()
    assert call("advise", recipe, "--fix", tmp_path / "fixed.yaml", "--out", tmp_path / "runs") == 0
    said = capsys.readouterr().out
    assert "+pretrain" in said.replace(" ", "") or "+  training" in said
    assert "learning_rate: 0.3" in said and "Written to" in said
    fixed = yaml.safe_load((tmp_path / "fixed.yaml").read_text())
    assert fixed["corpus"]["source"] == str(tmp_path / "texts") and set(fixed) >= set(yaml.safe_load(before))
    training = load_recipe(tmp_path / "fixed.yaml").pretrain.training  # type: ignore[union-attr]
    assert training.learning_rate < 0.02 and training.warmup_steps < 500
    assert recipe.read_text() == before and not (tmp_path / "runs").exists()
    assert call("advise", recipe, "--fix", recipe) == 2
    assert "existing files are not overwritten" in capsys.readouterr().err
    assert call("advise", tmp_path / "fixed.yaml", "--fix", tmp_path / "again.yaml", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["written"] is None and again["sets"] == [] and not (tmp_path / "again.yaml").exists()


def test_of_a_run_what_was_warned_of_is_listed_once(recipe: Path, tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text(yaml.safe_dump(load_recipe(recipe).plain()))
    events = [
        {"event": "run_start"},
        {"event": "warning", "stage": "base", "message": "of an earlier start"},
        {"event": "run_start"},
        {"event": "warning", "message": "advice that is asked anew"},
        {"event": "warning", "stage": "base", "rule": "overfitting", "message": "step 9: it overfits"},
        {"event": "warning", "stage": "base", "rule": "overfitting", "message": "step 10: it overfits"},
    ]
    (run / "events.jsonl").write_text("".join(json.dumps({"time": 1.0, **one}) + "\n" for one in events))
    assert call("advise", run, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["rule"], one["message"]) for one in found if one["source"] == "this run"] == [
        ("overfitting", "step 9: it overfits")
    ]
    assert "learning-rate" in {one["rule"] for one in found}
    assert call("advise", tmp_path / "texts") == 2
    assert "not a run folder" in capsys.readouterr().err
