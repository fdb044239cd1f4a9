"""The recipe of one finetuning command: a step for each way, and what the user sets on top."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.recipe.config import load_recipe
from tutelage.recipe.graph import life
from tutelage.recipe.one_step import OwnRows, one_step_recipe, read_own_rows
from tutelage.store.errors import ConfigError, InputError

LARGE, SMALL = 135_000_000, 1_000_000


@pytest.fixture
def rows(tmp_path: Path) -> OwnRows:
    texts = [f"{word} number {n},{word}" for n in range(30) for word in ("cats", "dogs")]
    path = tmp_path / "pets.csv"
    path.write_text("text,label\n" + "\n".join(texts) + "\n")
    return read_own_rows("classify", str(path), {})


def test_a_classifier_is_made_in_every_default_way(rows: OwnRows) -> None:
    recipe = one_step_recipe(rows, "smollm2", LARGE, 2048)
    assert list(recipe.finetune) == ["head", "lora"] and recipe.name == "pets-classify"
    head, lora = (recipe.finetune[name].settings for name in ("head", "lora"))
    assert head.frozen and not lora.frozen and lora.lora.rank == 16
    assert recipe.finetune["lora"].begins_with == "head" and head.frame == lora.frame != ""
    assert [node.name for node in life(recipe)] == ["base", "head", "lora", "evaluate"]
    assert list(one_step_recipe(rows, "models/own", SMALL, 256).finetune) == ["head", "full"]


def test_ways_are_chosen_and_wrong_ones_named(rows: OwnRows) -> None:
    recipe = one_step_recipe(rows, "smollm2", LARGE, 2048, ways=["full"])
    assert list(recipe.finetune) == ["full"] and recipe.finetune["full"].begins_with == "base"
    with pytest.raises(ConfigError, match=r"no way 'lorra'.*did you mean 'lora'"):
        one_step_recipe(rows, "smollm2", LARGE, 2048, ways=["lorra"])


def test_settings_go_to_every_step_or_to_the_one_that_is_named(rows: OwnRows) -> None:
    sets = ["training.epochs=7", "finetune.lora.training.epochs=2", "class_weights=balanced", "seed=9"]
    recipe = one_step_recipe(rows, "smollm2", LARGE, 2048, sets)
    head, lora = (recipe.finetune[name].settings for name in ("head", "lora"))
    assert (head.training.epochs, lora.training.epochs, recipe.seed) == (7, 2, 9)
    assert head.class_weights == lora.class_weights == "balanced"
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        one_step_recipe(rows, "smollm2", LARGE, 2048, ["training.epoch=1"])


def test_no_text_is_longer_than_the_model_reads(rows: OwnRows) -> None:
    recipe = one_step_recipe(rows, "smollm2", LARGE, 128)
    assert {step.settings.context_length for step in recipe.finetune.values()} == {128}


def test_the_file_is_read_first(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("text,label\nonly one,a\n")
    with pytest.raises(InputError, match="one row cannot be split"):
        read_own_rows("classify", str(path), {})


def test_a_classifier_may_begin_with_a_classifier_and_nothing_else_may() -> None:
    step = "finetune.more={method: classify, from: classify, task: labels}"
    assert load_recipe(None, [step]).finetune["more"].begins_with == "classify"
    with pytest.raises(ConfigError, match="only a classifier can start from it"):
        load_recipe(None, ["finetune.more={method: instruct, from: classify, task: docstrings}"])


def test_a_learning_curve_has_a_step_for_each_share_and_way(rows: OwnRows) -> None:
    recipe = one_step_recipe(rows, "smollm2", LARGE, 2048, curve=True)
    found = {name: (step.settings.share, step.begins_with) for name, step in recipe.finetune.items()}
    assert found == {
        "head": (1.0, "base"), "head-1of8": (1 / 8, "base"), "head-1of4": (1 / 4, "base"), "head-1of2": (1 / 2, "base"),
        "lora": (1.0, "head"), "lora-1of8": (1 / 8, "head-1of8"), "lora-1of4": (1 / 4, "head-1of4"),
        "lora-1of2": (1 / 2, "head-1of2"),
    }  # fmt: skip
    chat = OwnRows("instruct", {"data": "x.jsonl"}, 10)
    with pytest.raises(ConfigError, match="no learning curve of instruct"):
        one_step_recipe(chat, "smollm2", LARGE, 2048, curve=True)
