"""A plan fits the text, the time and the goal, and every number says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from test_rules import Fixed

from tutelage.guidance.forecast import Outlook, look_ahead
from tutelage.guidance.planner import AIM, Plan, goals, plan_for
from tutelage.guidance.rules import advise
from tutelage.recipe.commented import commented
from tutelage.recipe.config import Recipe
from tutelage.recipe.graph import life
from tutelage.store.errors import ConfigError

WORDS = "the of and to in is that for it with as was on are by this from or an be".split()  # noqa: SIM905


class Steady(Fixed):
    """A machine whose time is that of its FLOPs."""

    def training_seconds_per_token(self, model: Any, context: int, settings: Any, *_: Any) -> float:
        from tutelage.model.describe import forward_flops

        return 3 * float(forward_flops(model, context)) / 3e10


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven megabytes in documents of about three hundred bytes."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    line = " ".join(WORDS * 4)
    path.write_text("\n\n".join(f"{number} {line}" for number in range(20_000)))
    return path


def outlook_of(data: dict[str, Any]) -> Outlook:
    nodes = life(Recipe.parse(data))
    return look_ahead(nodes, {node.name for node in nodes}, {}, Steady())


def plan(text: Path | str, hours: float, goal: str = "base", rows: str | None = None) -> Plan:
    return plan_for(goal, hours, str(text), rows, Steady(), outlook_of)


def test_a_plan_is_a_valid_recipe_with_a_reason_for_every_choice(text: Path) -> None:
    made = plan(text, 0.1)
    recipe = Recipe.parse(yaml.safe_load(commented(made.data, {one.key: one.reason for one in made.choices})))
    assert recipe.pretrain is not None and recipe.pretrain.training.steps > 0
    assert all(len(one.reason) > 8 for one in made.choices)
    for choice in made.choices:
        value: Any = made.data
        for key in choice.key.split("."):
            value = value[key]
        assert value == choice.value


@pytest.mark.parametrize("hours", [0.05, 0.1])
def test_it_fills_the_time_and_no_more(text: Path, hours: float) -> None:
    seconds = sum(plan(text, hours).outlook.seconds.values())
    assert 0.8 * AIM * hours * 3600 < seconds <= hours * 3600


def test_more_time_makes_a_larger_model_until_the_text_ends(text: Path) -> None:
    short, long, endless = (plan(text, hours).proposal.taken for hours in (0.02, 0.3, 200.0))
    assert short.parameters < long.parameters <= endless.parameters
    assert short.bits.middle > long.bits.middle and endless.passes <= 4.01
    assert any("text runs out before the time" in remark for remark in plan(text, 200.0).remarks)


def test_the_rules_of_thumb_have_nothing_to_warn_of(text: Path) -> None:
    for hours in (0.05, 0.5, 5.0):
        made = plan(text, hours)
        nodes = life(Recipe.parse(made.data))
        found = [
            one for one in advise(nodes, made.outlook) if one.level != "note" and one.stage in ("base", "tokenizer")
        ]
        assert found == [], hours


def test_a_goal_takes_its_method_and_its_rows(text: Path, tmp_path: Path) -> None:
    rows = tmp_path / "chats.jsonl"
    rows.write_text("".join(f'{{"prompt": "What is {i}?", "response": "It is {i}, a number."}}\n' for i in range(80)))
    made = plan(text, 0.2, "chat", str(rows))
    assert made.data["finetune"]["chat"] == {"method": "instruct", "data": str(rows)}
    assert "chat" in made.budgets and made.budgets["base"] > made.budgets["chat"]


def test_goals_without_rows_unknown_goals_and_unknown_sources_are_refused(text: Path) -> None:
    assert {"base", "chat", "classify", "prefer"} <= set(goals())
    with pytest.raises(ConfigError, match="contains no docstrings"):
        plan(text, 0.1, "chat")
    with pytest.raises(ConfigError, match="--goal translate requires a file of rows"):
        plan(text, 0.1, "translate")
    with pytest.raises(ConfigError, match="--goal chatt is unknown") as told:
        plan(text, 0.1, "chatt")
    assert "chat" in told.value.hint
    with pytest.raises(ConfigError, match="is unknown before it is read"):
        plan("hf:some/set", 0.1)


def test_the_corpus_itself_may_hold_what_is_learned() -> None:
    assert plan("python", 0.3, "chat").data["finetune"]["chat"] == {"method": "instruct", "task": "docstrings"}
    assert plan("python", 0.3, "classify").data["finetune"]["classify"]["task"] == "labels"
