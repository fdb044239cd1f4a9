"""A life on text that has no labels and no signatures: what cannot be made is skipped, and the run ends well."""

from __future__ import annotations

from pathlib import Path

from miniature_life import ALL_STEPS, miniature
from tutelage.recipe.run import run_recipe
from tutelage.report.write import write_report

ANIMALS = ("fox", "wolf", "bear", "hare", "crow")


def test_the_steps_are_skipped_and_the_base_is_measured(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for number in range(60):
        text = f"Story {number} tells of a {ANIMALS[number % 5]} that came to the village in {1900 + number}.\n"
        (tmp_path / "texts" / f"{number}.txt").write_text(text)
    recipe = miniature(tmp_path / "texts", {name: ALL_STEPS[name] for name in ("topics", "chat")})
    run = run_recipe(recipe, tmp_path / "runs")
    states = {stage["stage"]: stage["status"] for stage in run.record["stages"]}
    assert (states["topics"], states["chat"]) == ("skipped", "skipped"), states
    assert states["base"] == states["evaluate"] == "ran", states
    assert "Bits per byte" in write_report(run.path).read_text(encoding="utf-8")
