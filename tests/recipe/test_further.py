"""Continued pretraining as one line and as a step of a life."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tutelage.inference.language_model import LanguageModel
from tutelage.recipe.config import Recipe
from tutelage.recipe.graph import life
from tutelage.recipe.one_step import one_step_recipe, read_own_rows
from tutelage.recipe.run import run_recipe
from tutelage.report.write import write_report
from tutelage.store.errors import InputError

WORDS = ["old", "river", "runs", "under", "a", "stone", "bridge", "and", "past", "every", "quiet", "mill", "in", "town"]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "my_texts"
    folder.mkdir()
    for number in range(12):
        turned = WORDS[number % len(WORDS) :] + WORDS[: number % len(WORDS)]
        (folder / f"{number}.txt").write_text(
            f"{number} " + " ".join(turned[: 8 + number % 5]) + f" {number * number}.\n"
        )
    return folder


@pytest.fixture
def base(tmp_path: Path, lm: LanguageModel) -> Path:
    lm.save(tmp_path / "base")
    return tmp_path / "base"


def test_a_folder_of_texts_makes_a_recipe(texts: Path) -> None:
    recipe = one_step_recipe(read_own_rows("further", str(texts), {}), "smollm2", 135_000_000, 8192)
    assert recipe.name == "my-texts-further" and list(recipe.finetune) == ["full"]
    assert [node.name for node in life(recipe)] == ["base", "full.texts", "full.sampled", "full", "evaluate"]
    named = one_step_recipe(
        read_own_rows("further", str(texts), {}), "smollm2", 135_000_000, 8192,
        [f"replay.source={texts}", f"general={texts}"], ways=["full", "vocabulary", "lora"],
    )  # fmt: skip
    assert list(named.finetune) == ["full", "lora", "vocabulary"]
    inputs = {node.name: node.inputs for node in life(named)}["full"]
    assert inputs == {"model": "base", "texts": "full.texts", "replay": "full.replay", "general": "full.general",
                      "sampled": "full.sampled"}  # fmt: skip
    sampled = {node.name: node.config for node in life(named)}["full.sampled"]
    assert (sampled.tokens, sampled.chats) == (0, 0) and sampled.questions and sampled.heldout_tokens


def test_a_folder_without_text_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no file that can be read"):
        read_own_rows("further", str(tmp_path / "empty"), {})


def test_a_life_from_one_line_to_its_report(texts: Path, base: Path, tmp_path: Path) -> None:
    recipe = Recipe.parse(
        {
            "name": "life",
            "base": {"source": str(base)},
            "finetune": {
                "full": {
                    "method": "further", "data": str(texts), "heldout": 0.3, "context_length": 64,
                    "sampled": {"tokens": 60, "heldout_tokens": 40, "chats": 2, "questions": 2, "max_tokens": 16},
                    "training": {"steps": 3, "batch_rows": 2, "threads": 1, "precision": "float32"},
                },
            },
            "evaluate": {"samples": 2, "bootstrap": 100},
        }
    )  # fmt: skip
    run = run_recipe(recipe, tmp_path / "runs")
    found = json.loads((run.path / os.path.normpath(run.stage("evaluate")["artifact"]) / "evaluation.json").read_text())
    assert {"bits per byte, new text", "bits per byte, own text"} <= {one["measure"] for one in found["figures"]}
    assert run.record["chat_model"] == run.stage("full")["artifact"]
    page = write_report(run.path).read_text()
    for words in ("Continued pretraining", "The model’s own text", "bits per byte, new text", "before,"):
        assert words in page
    again = run_recipe(recipe, tmp_path / "runs")
    assert {stage["status"] for stage in again.record["stages"] if stage["status"] != "pending"} == {"cached"}
