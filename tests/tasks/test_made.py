"""Tasks whose examples are made from the data seed: no corpus, no prompt twice, the right answer passes."""

from __future__ import annotations

import pytest

from tutelage.recipe.config import Recipe
from tutelage.recipe.graph import life
from tutelage.tasks import task

MADE = ("sorting", "arithmetic", "counting")


@pytest.mark.parametrize("name", MADE)
def test_examples(name):
    one = task(name)
    found = one.examples([], [], 1)
    prompts = [row["prompt"] for row in [*found.train, *found.heldout]]
    assert len(set(prompts)) == len(prompts) and len(found.train) >= 700 and len(found.heldout) >= 70
    assert found.train == one.examples([], [], 1).train != one.examples([], [], 2).train
    assert one.grade is not None
    for row in found.train[:50]:
        assert one.grade(f" {row['response']}.", row).perfect and not one.grade(f"{row['response']} 1", row).perfect


def test_the_answers_are_right():
    for row in task("sorting").examples([], [], 3).train[:100]:
        assert row["response"].split() == sorted(row["prompt"].removeprefix("Sort ").split())
    for row in task("arithmetic").examples([], [], 3).train[:100]:
        one, other = row["prompt"].removeprefix("What is ").removesuffix("?").split(" + ")
        assert int(row["response"]) == int(one) + int(other)
    for row in task("counting").examples([], [], 3).train[:100]:
        letter, word = row["prompt"].removeprefix("How many ").removesuffix("?").split(" in ")
        assert int(row["response"]) == word.split().count(letter)


def test_a_life_with_such_a_task_needs_no_corpus():
    steps = {"form": {"method": "instruct", "task": "sorting"},
             "solve": {"method": "reinforce", "from": "form", "task": "sorting"}}  # fmt: skip
    recipe = Recipe.parse({"name": "x", "base": {"source": "smollm2"}, "finetune": steps})
    assert [node.name for node in life(recipe)] == ["base", "form", "solve", "evaluate"]
