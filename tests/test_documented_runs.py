"""Documented commands and Python that are really run: what is quick as it stands or on a life of three stages, the rest
(`slow`) on a whole life of seconds."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from byte_model import random_model
from command_line import VERBS, runnable
from documented import ROOT, run_blocks
from documented_place import MODELS, write_files, write_models
from miniature_life import miniature, write_texts
from tutelage.cli.main import main
from tutelage.recipe.config import Recipe
from tutelage.recipe.graph import life as nodes_of
from tutelage.recipe.run import run_recipe
from tutelage.store.events import EventLog
from tutelage.store.stage import Job
from tutelage.tokenizer.tokenizer import Tokenizer

RECIPE = "recipes/miniature.yaml"  # of which `model` shows what it would make
PYTHON = ("README.md", "docs/corpus.md", "docs/evaluation.md", "docs/guidance.md", "docs/report.md")
QUICK_VERBS = ("advise", "chat", "classify", "corpus", "data", "evaluate", "finetune", "generate", "lineage", "report",
               "trace", "translate", "watch")  # fmt: skip
SLOW_VERBS = ("doctor", "export", "plan")
# What asks at the terminal, takes long, or needs what is not there.
NOT_RUN = re.compile(
    r"chat( runs/quickstart.*)?|evaluate|translate( --.*)?|corpus( --source .*)?"
    r"|finetune (?!.*--audit).*|.*(--(adapter|draft|hours|suite|task|limit|for|rule|corpus)\b|path/to|FILE).*"
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
def short_life(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A folder with a run of corpus, tokenizer and pretraining, and beside it models of random weights."""
    place = tmp_path_factory.mktemp("short")
    recipe = miniature(write_texts(place / "my_texts"), {}, name="quickstart")
    recipe = Recipe.parse({**recipe.plain(), "evaluate": None, "finetune": {}})
    run_recipe(recipe, place / "runs")
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe.plain()))
    write_files(place)
    write_models(place, random_model(tokenizer), tokenizer)
    return place


def of_a_life(verbs: tuple[str, ...]) -> list[tuple[str, ...]]:
    found = [words for verb in verbs for words in runnable((verb,), MODELS.get(verb, "runs/quickstart"))]
    return [words for words in found if not NOT_RUN.fullmatch(" ".join(words))]


@pytest.mark.parametrize("words", of_a_life(QUICK_VERBS), ids=" ".join)
def test_quick_commands_on_a_life(words: tuple[str, ...], short_life: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(words, short_life, monkeypatch)


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
    write_files(place)
    return {"job": job, "place": place, "recipe": recipe, "root": place / "runs", "corpus": made["corpus"], "out": out,
            "tokenizer": made["tokenizer"], "log": EventLog(), "seed": 1}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("page", PYTHON)
def test_python_on_a_life(page: str, life: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(life["place"])
    run_blocks(ROOT / page, life)


@pytest.mark.slow
@pytest.mark.parametrize("words", of_a_life(SLOW_VERBS), ids=" ".join)
def test_commands_on_a_life(words: tuple[str, ...], life: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run(words, life["place"], monkeypatch)
