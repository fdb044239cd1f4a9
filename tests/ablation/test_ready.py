"""Ready questions: each one is asked in keys that exist, and answered beside what is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_questions import Capture, asked, call, write_recipe

from tutelage.ablation.arms import arms_of, refuse_varied_length, target_of, varied_keys
from tutelage.ablation.bench import _asked
from tutelage.ablation.ledger import key_of
from tutelage.ablation.ready import READY, answer, wanted
from tutelage.recipe.config import load_recipe
from tutelage.store.errors import ConfigError


@pytest.mark.parametrize("name", READY)
def test_every_question_is_of_recipes_that_can_be_run(name: str) -> None:
    ready = READY[name]
    arms = arms_of(None, [], ready.vary(load_recipe(None, [])))
    assert len(arms) >= 2 and len({json.dumps(arm.recipe.plain()) for arm in arms}) == len(arms)
    keys = varied_keys(arms)
    refuse_varied_length(target_of(keys, arms[0].recipe, None), keys, ready.match)
    assert ready.asks.endswith("?") and "20" in ready.literature  # a year: whoever says so is named


def test_a_later_step_that_is_changed_makes_no_other_try_of_a_question_about_the_base() -> None:
    def key(target: str, *sets: str) -> str:
        (arm, *_) = arms_of(None, list(sets), READY["schedule"].vary(load_recipe(None, [])))
        return key_of(arm=_asked(arm, target))

    change = "finetune.classify.training.epochs=9"
    assert key("base") == key("base", change) != key("base", "pretrain.training.steps=77")
    assert key("classify") != key("classify", change)
    assert key("instruct") == key("instruct", change)


def test_lora_is_compared_at_larger_rates_too() -> None:
    arms = arms_of(None, [], READY["finetuning"].vary(load_recipe(None, [])))
    settings = [arm.recipe.finetune["classify"].settings.plain() for arm in arms]
    assert [one["lora"] is None for one in settings] == [True, False, False]
    assert settings[0]["training"]["optimizer"] == "muon"  # a tenth of whose rate is AdamW's
    rates = [one["training"]["learning_rate"] / settings[0]["training"]["learning_rate"] for one in settings]
    assert rates == pytest.approx([1, 0.3, 1.0])
    by_adamw = ["finetune.classify.training.optimizer=adamw", "finetune.classify.training.learning_rate=1e-3"]
    arms = arms_of(None, by_adamw, READY["finetuning"].vary(load_recipe(None, by_adamw)))
    rates = [arm.recipe.finetune["classify"].settings.plain()["training"]["learning_rate"] for arm in arms]
    assert rates == pytest.approx([1e-3, 3e-3, 1e-2])


def test_what_a_recipe_cannot_answer_is_said(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path), [])
    with pytest.raises(ConfigError, match="LoRA"):
        READY["finetuning"].vary(recipe)
    with pytest.raises(ConfigError, match="one head"):
        READY["attention"].vary(load_recipe(None, ["model.num_heads=1"]))
    with pytest.raises(ConfigError, match="optimiser"):
        wanted("norm, optimiser")
    assert [one.name for one in wanted("norm,attention,norm")] == ["norm", "attention"]
    assert wanted("all") == list(READY.values())


def test_the_answer_names_the_lowest_and_every_verdict() -> None:
    arms = [
        {"arm": "a", "mean": 2.0, "outcome": ""},
        {"arm": "b", "mean": 1.5, "outcome": "better"},
        {"arm": "c", "mean": None, "outcome": "worse"},
    ]
    said = answer({"arms": arms, "measure": "bits per byte"})
    assert said == "lowest: b (1.5000 bits per byte); against a: b better, c worse"
    assert answer({"arms": [arms[2]], "measure": ""}) == "no arm could be trained"


def test_the_literature_and_the_finding_are_shown_together(tmp_path: Path, capsys: Capture) -> None:
    recipe = write_recipe(tmp_path, rows=80, steps=2)
    code, found = asked(capsys, recipe, "--ask", "attention", "--seeds", 1, "--out", tmp_path / "runs")
    (one,) = found["questions"]
    assert code == one["code"] == 4  # a single question exits as --vary does: one seed is too few
    assert one["literature"] == READY["attention"].literature and one["found"].startswith("lowest: num_kv_heads=")
    assert (tmp_path / "runs" / "ablations" / "tiny-attention" / "ledger.jsonl").is_file()
    assert call("ablate", recipe, "--ask", "attention", "--vary", "seed=1,2") == 2
    assert "leave out --vary" in capsys.readouterr().err
