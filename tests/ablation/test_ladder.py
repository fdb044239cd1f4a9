"""A ladder: its runs, its laws, the check on the largest run, and what it says of sizes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from test_questions import call, write_recipe

from tutelage.ablation.ladder import Ladder, LadderRun, rungs_of
from tutelage.ablation.ladder_page import render
from tutelage.ablation.law import findings, frontier, optimal_share, plain, sentences
from tutelage.pretraining.scaling import Law
from tutelage.recipe.config import Recipe, load_recipe
from tutelage.store.errors import ConfigError

PLANTED = Law(0.8, (1e5, 1e6), (0.6, 0.5), (0.35, 0.3))


def ladder_run(width: int, tokens: float, off: float = 1.0) -> LadderRun:
    size = 12 * width * width
    flops = 6.0 * size * tokens
    return LadderRun(width, int(tokens / 1000), size, size, int(tokens), tokens, tokens / 1e8, flops, flops / 2e10,
                   off * PLANTED.loss(size, tokens))  # fmt: skip


def ladder(off: float = 1.0) -> Ladder:
    runs = [ladder_run(width, tokens) for width in (32, 64, 96, 128) for tokens in (2.5e5, 5e5, 1e6)]
    runs.sort(key=lambda one: one.flops)
    last = runs[-1]
    return Ladder("tiny", (*runs[:-1], ladder_run(last.width, last.fresh, off)), Path(), 0)


def test_every_width_has_every_length_and_only_the_rate_changes_beside_the_shape() -> None:
    recipe = load_recipe(None, ["pretrain.training.steps=400"])
    rungs = rungs_of(recipe, [128, 64], [1.0, 0.5])
    assert [(one.width, one.steps) for one in rungs] == [(64, 200), (64, 400), (128, 200), (128, 400)]
    own = rungs[-1].arm.recipe
    assert own.model == recipe.model and own.pretrain and recipe.pretrain
    assert own.pretrain.training.learning_rate == pytest.approx(recipe.pretrain.training.learning_rate)
    wide = rungs_of(recipe, [64, 256], [0.5, 1.0])[-1].arm.recipe
    assert wide.pretrain and wide.pretrain.training.learning_rate < recipe.pretrain.training.learning_rate
    assert wide.tokenizer == recipe.tokenizer and wide.corpus == recipe.corpus


def test_what_cannot_be_fitted_is_refused_before_anything_runs() -> None:
    recipe = load_recipe(None)
    with pytest.raises(ConfigError, match="too few to fit"):
        rungs_of(recipe, [64], [0.25, 0.5, 0.75, 1.0])
    with pytest.raises(ConfigError, match="how long the longest run"):
        rungs_of(load_recipe(None, ["pretrain.training.steps=0"]), [64, 128], [0.5, 1.0])
    with pytest.raises(ConfigError, match="comes from elsewhere"):
        rungs_of(Recipe.parse({"base": "smollm2"}), [64, 128], [0.5, 1.0])


def test_the_largest_run_is_predicted_by_the_others_and_a_planted_miss_is_said() -> None:
    good = findings(ladder())
    assert good.check.passed and good.check.run is good.ladder.runs[-1]
    bad = findings(ladder(1.3))
    assert not bad.check.passed and "OUTSIDE" in sentences(plain(bad))[0]
    assert "do not extrapolate" in render(plain(bad), bad)


def test_the_law_the_optimum_and_the_times_are_the_planted_ones() -> None:
    found = findings(ladder())
    assert found.joint.law.loss(1e5, 1e6) == pytest.approx(PLANTED.loss(1e5, 1e6), rel=0.01)
    assert optimal_share(found.joint.law) == pytest.approx(0.3 / 0.65, abs=0.12)
    short, hour, night = found.best
    assert short.parameters < hour.parameters < night.parameters and night.beyond
    assert short.bits.middle > hour.bits.middle > night.bits.middle
    # The best size for a time, by the planted law: no other size of the same time is better by half a percent.
    rate = 6 / 2e10
    best = min(
        PLANTED.loss(size, short.seconds / (rate * size)) for size in [10 ** (power / 50) for power in range(200, 350)]
    )
    assert PLANTED.loss(short.parameters, short.seconds / (rate * short.parameters)) < 1.005 * best


def test_the_frontier_leaves_out_what_costs_more_and_does_worse() -> None:
    runs = [ladder_run(32, 1e5), ladder_run(64, 1e5), ladder_run(64, 1e4), ladder_run(128, 1e6)]
    front = frontier(runs)
    assert [run.bits_per_byte for run in front] == sorted((run.bits_per_byte for run in front), reverse=True)
    assert front[0].flops == min(run.flops for run in runs)


def test_the_page_shows_the_check_first_and_every_run() -> None:
    found = findings(ladder())
    page = render(plain(found), found)
    assert page.index("Is the fit reliable?") < page.index("What it says") < page.index("Runs")
    assert page.count("<tr>") == 13 and "<svg" in page and "<script" not in page and "(held out)" in page
    assert all(math.isfinite(one["bits"]["low"]) for one in plain(found)["best"])


@pytest.mark.slow
def test_a_ladder_of_real_runs_is_cached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path)
    for stages in (True, False):
        capsys.readouterr()
        assert (
            call("ablate", recipe, "--ladder", "16,24", "--lengths", "0.5,1", "--out", tmp_path / "runs", "--json") == 0
        )
        told = json.loads(capsys.readouterr().out)
        assert len(told["runs"]) == 4 and (told["stages_run"] > 0) == stages and Path(told["page"]).is_file()
