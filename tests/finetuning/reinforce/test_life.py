"""The step in a life of its own: recipe, evaluation, report; no corpus is made for a task that makes its problems."""

from __future__ import annotations

from tutelage.recipe.config import Recipe
from tutelage.recipe.run import run_recipe
from tutelage.report.write import write_report

from ..conftest import quick


def test_a_life(base, tmp_path):
    step = {"method": "reinforce", "task": "counting", "max_tokens": 4, "num_generations": 4, "max_heldout": 12,
            "rewards": {"right": {"rule": "task"}, "ends": {"rule": "ends", "weight": 0.1}}, "beta": 0.01,
            "updates_per_rollout": 2, "training": quick(4, log_every=1).plain()}  # fmt: skip
    recipe = Recipe.parse({"name": "tiny", "base": {"source": str(base)}, "finetune": {"solve": step},
                           "evaluate": {"samples": 2, "bootstrap": 100}})  # fmt: skip
    run = run_recipe(recipe, tmp_path)
    assert [stage["stage"] for stage in run.record["stages"]] == ["base", "solve", "evaluate"]
    assert all(stage["status"] == "ran" for stage in run.record["stages"])
    assert {"before", "after", "solved", "constant"} <= run.stage("solve")["metrics"].keys()
    page = write_report(run.path).read_text(encoding="utf-8")
    for said in (
        "Reward: ends",
        "KL to the model before",
        "Held-out problems that the greedy answer solves",
        "How many",
    ):
        assert said in page, said
