"""Documented commands and Python that are really run: what is quick as it stands, the rest on a life of seconds."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from command_line import VERBS, runnable
from documented import ROOT, run_blocks
from miniature_life import miniature, write_texts
from tutelage.cli.main import main
from tutelage.recipe.graph import life as nodes_of
from tutelage.recipe.run import run_recipe
from tutelage.store.events import EventLog
from tutelage.store.stage import Job

RECIPE = "recipes/miniature.yaml"  # of which `model` shows what it would make
PYTHON = ("README.md", "docs/corpus.md", "docs/evaluation.md", "docs/guidance.md", "docs/report.md")
VERBS_OF_A_LIFE = ("advise", "chat", "corpus", "doctor", "evaluate", "export", "generate", "lineage", "plan", "report",
                   "trace", "watch")  # fmt: skip
# What asks at the terminal, takes long, or needs what is not there.
NOT_RUN = re.compile(
    r"chat( runs/quickstart.*)?|evaluate|.*(--(adapter|draft|hours|suite|task|limit|for|source|rule)|\.jsonl|path/to).*"
)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0 and "Usage: tutelage" in capsys.readouterr().out


def run(words: tuple[str, ...], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 0


def quick() -> list[tuple[str, ...]]:
    found = runnable(("tasks", "advise", "model", "version"), RECIPE)
    return [words for words in found if all((ROOT / word).is_file() for word in words if re.search(r"[./]", word))]


@pytest.mark.parametrize("words", [words for words in quick() if words != ("model", "describe")], ids=" ".join)
def test_quick_commands(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    run(words, tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A folder with the run that pages name, and what they call the parts of a life."""
    place = tmp_path_factory.mktemp("life")
    recipe = miniature(write_texts(place / "my_texts"), {}, name="quickstart")
    finished = run_recipe(recipe, place / "runs")
    made = {stage["stage"]: (finished.path / stage["artifact"]).resolve() for stage in finished.record["stages"]}
    out = place / "measured"
    out.mkdir()
    (node,) = (node for node in nodes_of(recipe) if node.name == "evaluate")
    inputs = {role: made[name] for role, name in node.inputs.items()}
    job = Job("evaluate", node.config, inputs, place / "evaluated", place / "work", EventLog(), seed=1, data_seed=1)
    job.out.mkdir()
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe.plain()))
    (place / "text.txt").write_text("Return every node of the first table. " * 40)
    shutil.copytree(ROOT / "recipes", place / "recipes")
    return {"job": job, "place": place, "recipe": recipe, "root": place / "runs", "corpus": made["corpus"], "out": out,
            "tokenizer": made["tokenizer"], "log": EventLog(), "seed": 1}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("page", PYTHON)
def test_python_on_a_life(page: str, life: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(life["place"])
    run_blocks(ROOT / page, life)


def of_a_life() -> list[tuple[str, ...]]:
    found = runnable(VERBS_OF_A_LIFE, "runs/quickstart")
    return [words for words in found if not NOT_RUN.fullmatch(" ".join(words))]


@pytest.mark.slow
@pytest.mark.parametrize("words", of_a_life(), ids=" ".join)
def test_commands_on_a_life(words: tuple[str, ...], life: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run(words, life["place"], monkeypatch)
