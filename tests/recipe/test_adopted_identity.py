"""What of an adopted model's directory counts: its weights and everything that decides how it reads and answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.inference.language_model import LanguageModel
from tutelage.recipe.config import Recipe
from tutelage.recipe.plan import plan
from tutelage.store.artifacts import ArtifactStore


@pytest.fixture
def directory(lm: LanguageModel, tmp_path: Path) -> Path:
    lm.save(tmp_path / "model")
    return tmp_path / "model"


def identity(directory: Path) -> str:
    recipe = Recipe.parse({"base": str(directory)})
    (base,) = (item for item in plan(recipe, ArtifactStore(directory.parent / "runs")) if item.stage == "base")
    assert base.identity is not None
    return base.identity


@pytest.mark.parametrize(
    "name", ["chat_template.jinja", "additional_chat_templates/tools.jinja", "vocab.model", "model-2.safetensors"]
)
def test_a_file_that_is_added_or_changed_is_another_model(name: str, directory: Path) -> None:
    found = [identity(directory)]
    (directory / name).parent.mkdir(exist_ok=True)
    for text in ("{{ messages[0].content }}", "{{ messages[-1].content }}"):
        (directory / name).write_text(text)
        found.append(identity(directory))
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("tokenizer_config.json", "chat_template"),
        ("tokenizer_config.json", "bos_token"),
        ("generation_config.json", "eos_token_id"),
        ("config.json", "rope_theta"),
    ],
)
def test_a_changed_setting_is_another_model(name: str, key: str, directory: Path) -> None:
    before = identity(directory)
    settings = json.loads((directory / name).read_text())
    (directory / name).write_text(json.dumps({**settings, key: "changed"}))
    assert identity(directory) != before


def test_the_readme_and_the_place_do_not_count(directory: Path) -> None:
    before = identity(directory)
    (directory / "README.md").write_text("A model.")
    assert identity(directory) == before
    assert identity(directory.rename(directory.with_name("elsewhere"))) == before
