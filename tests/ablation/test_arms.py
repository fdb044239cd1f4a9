"""Arms: what is varied, checked before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.ablation.arms import (
    OWN,
    arms_of,
    parse_vary,
    refuse_varied_length,
    target_of,
    varied_keys,
    with_length,
    with_seed,
)
from tutelage.recipe.config import Recipe, load_recipe
from tutelage.store.errors import ConfigError

RATE = "pretrain.training.learning_rate"


def test_values_are_split_at_commas_outside_brackets_and_quotes() -> None:
    vary = parse_vary("corpus.source=[a, b],{c: 1, d: 2},'e,f',g")
    assert vary.key == "corpus.source" and vary.values == ("[a, b]", "{c: 1, d: 2}", "'e,f'", "g")
    for wrong in ("key", "=a,b", "key=", "key=a,,b"):
        with pytest.raises(ConfigError, match="not of the form"):
            parse_vary(wrong)


def test_a_grid_has_every_combination_and_the_first_of_each_comes_first() -> None:
    arms = arms_of(None, [], [f"{RATE}=6e-3,3e-3", "model.num_layers=2,3,4"])
    assert len(arms) == 6
    assert [arm.recipe.model.num_layers for arm in arms[:3]] == [2, 3, 4]
    assert arms[0].name == "learning_rate=6e-3, num_layers=2"
    assert arms[3].sets == (f"{RATE}=3e-3", "model.num_layers=2")
    assert arms[3].recipe.pretrain and arms[3].recipe.pretrain.training.learning_rate == 3e-3


def test_one_value_stands_against_the_recipe_as_it_is() -> None:
    own, changed = arms_of(None, ["model.num_layers=3"], ["model.num_layers=2"])
    assert own.name == OWN and own.sets == () and own.recipe.model.num_layers == 3
    assert changed.recipe.model.num_layers == 2


def test_a_value_in_braces_changes_several_keys_and_leaves_the_others() -> None:
    arms = arms_of(
        None, ["pretrain.training.warmup_steps=7"],
        ["pretrain.training={optimizer: muon, learning_rate: 6e-3},{optimizer: adamw, learning_rate: 3e-3}"],
    )  # fmt: skip
    assert [arm.name for arm in arms] == [
        "optimizer=muon, learning_rate=6e-3", "optimizer=adamw, learning_rate=3e-3"
    ]  # fmt: skip
    training = arms[1].recipe.pretrain.training  # type: ignore[union-attr]
    assert (training.optimizer, training.learning_rate, training.warmup_steps) == ("adamw", 3e-3, 7)
    assert varied_keys(arms) == ["pretrain.training.optimizer", RATE]
    several = arms_of(None, [], ["pretrain.training={steps: 5},{steps: 6}"])
    with pytest.raises(ConfigError, match="holds equal"):
        refuse_varied_length("base", varied_keys(several), "steps")


def test_arms_of_one_name_are_told_apart() -> None:
    assert [arm.name for arm in arms_of(None, [], [f"{RATE}=6e-3,6e-3"])] == [
        "learning_rate=6e-3", "learning_rate=6e-3 (2)"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("varied", "says"),
    [
        (["pretrain.training.learning_rat=1,2"], "did you mean 'learning_rate'"),
        (["model.num_layers=2,x"], "num_layers"),
        ([], "nothing is varied"),
        ([f"{RATE}=1,2", f"{RATE}=3,4"], "varied twice"),
        ([f"{RATE}={','.join(map(str, range(1, 10)))}", "model.num_layers=1,2,3,4,5,6,7,8"], "too many"),
    ],
)
def test_wrong_arms_are_errors(varied: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        arms_of(None, [], varied)
    assert says in str(error.value)


def test_the_model_that_is_measured_is_the_one_that_the_keys_belong_to() -> None:
    recipe = load_recipe()
    assert target_of([RATE], recipe, None) == "base"
    assert target_of(["finetune.instruct.training.learning_rate"], recipe, None) == "instruct"
    assert target_of([RATE, "finetune.instruct.max_rows"], recipe, None) == "base"
    assert target_of([RATE], recipe, "instruct") == "instruct"
    for step in ("classify", "prefer"):
        assert target_of([f"finetune.{step}.training.learning_rate"], recipe, None) == step
    tags = Recipe.parse({"finetune": {"tags": {"method": "multilabel", "data": "rows.csv"}}})
    with pytest.raises(ConfigError, match="has no held-out items"):
        target_of(["finetune.tags.training.steps"], tags, None)
    with pytest.raises(ConfigError, match="no step 'instruc'"):
        target_of([RATE], recipe, "instruc")
    with pytest.raises(ConfigError, match="holds equal"):
        refuse_varied_length("base", ["pretrain.training.steps"], "tokens")


def test_an_untrained_base_has_no_seeds(tmp_path: Path) -> None:
    path = tmp_path / "adopted.yaml"
    path.write_text("base: smollm2\nfinetune: {chat: {method: instruct, data: rows.jsonl}}\n")
    recipe = load_recipe(path)
    with pytest.raises(ConfigError, match="not trained here"):
        target_of(["base.context_length"], recipe, None)


def test_seeds_change_the_training_seed_alone_and_length_the_steps_alone() -> None:
    recipe = load_recipe(None, ["seed=4"])
    other = with_seed(recipe, 2)
    assert (other.seed, other.data_seed) == (6, recipe.data_seed)
    assert with_seed(other, -2) == recipe
    longer = with_length(recipe, "base", 77)
    assert longer.pretrain and recipe.pretrain and longer.pretrain.training.steps == 77
    assert longer.pretrain.training.with_(steps=recipe.pretrain.training.steps) == recipe.pretrain.training
