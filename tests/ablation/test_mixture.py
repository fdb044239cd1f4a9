"""A search for a mixture: what is drawn, what is predicted, and that noise is not taken for a finding."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tutelage.ablation.data import filter_arms
from tutelage.ablation.mixture import arm_of, distances, draw, lines, plain, predicted, propose, search
from tutelage.pretraining.mixing import mix_of
from tutelage.store.errors import InputError

NATURAL = np.array([0.6, 0.3, 0.1])
NAMES = ("a", "b", "c")
BEST = np.array([0.2, 0.5, 0.3])


def bits(tried: Any, noise: float) -> Any:
    """A bowl around the best mixture."""
    return 2 + ((tried - BEST) ** 2).sum(axis=1) + noise * np.random.default_rng(3).normal(size=len(tried))


def test_mixtures_lie_around_the_sizes_near_and_far() -> None:
    drawn = draw(NATURAL, 400)
    assert drawn.sum(axis=1) == pytest.approx(np.ones(400)) and drawn.min() > 0.004
    assert drawn[0] == pytest.approx(NATURAL)
    assert drawn.mean(axis=0) == pytest.approx(NATURAL, abs=0.06)
    distances = np.abs(drawn - NATURAL).sum(axis=1)
    assert np.quantile(distances, 0.1) < 0.25 and np.quantile(distances, 0.9) > 0.6


def test_the_weights_of_an_arm_give_its_shares() -> None:
    first, sizes = filter_arms(None, ["pretrain.mix={temperature: 2.0}"])[0], {"a": 600, "b": 300, "": 100}
    arm = arm_of(first, "label", sizes, BEST, "best")
    mix = arm.recipe.pretrain and arm.recipe.pretrain.mix
    assert mix and arm.sets[0] == "pretrain.mix.by=label"
    found = mix_of(sizes, mix.weights, mix.temperature, 1e9, 1000)
    assert [found.shares[name] for name in sizes] == pytest.approx(BEST.tolist(), abs=1e-4)


def test_a_mixture_is_predicted_where_there_is_one_to_predict() -> None:
    tried = draw(NATURAL, 32)
    found = propose(NAMES, NATURAL, tried, bits(tried, 0.01))
    assert found.predicted.holds and found.predicted.correlation > 0.8
    assert found.shares.sum() == pytest.approx(1)
    ours, usual = bits(np.stack([found.shares, NATURAL]), 0.0) - 2  # above the best there is
    assert ours < 0.25 * usual
    assert distances(found.shares[None], tried).min() < 0.15  # where runs were, not where a curve leads to
    assert found.expected < found.expected_natural
    assert "Predicted best: a " in lines(found)[1]
    assert plain(found)["shares"]["b"] == pytest.approx(float(found.shares[1]), abs=1e-4)


def test_noise_is_no_finding() -> None:
    held = 0
    for seed in range(20):
        tried = draw(NATURAL, 32, seed)
        held += predicted(tried, np.random.default_rng(seed + 100).normal(size=32)).holds
    assert held <= 2
    tried = draw(NATURAL, 24)
    found = propose(NAMES, NATURAL, tried, np.random.default_rng(1).normal(size=24))
    assert not found.predicted.holds and plain(found)["shares"] is None
    assert "no mixture is proposed" in lines(found)[0]


def test_shares_are_counted_as_they_were_drawn(tmp_path: Path) -> None:
    """A source that is held at its most passes has less than was asked for."""

    class Runs:
        def model(self, arm: Any, seed: int) -> Any:
            return SimpleNamespace(metrics={"source_epochs": {"a": 1.0, "b": 2.0}, "heldout_bits_per_byte": 2.0})

    first, said = filter_arms(None, [])[0], list[str]()
    found = search(first, "label", {"a": 200, "b": 100}, 12, Runs(), said.append)  # type: ignore[arg-type]
    assert found.tried == pytest.approx(np.full((12, 2), 0.5)) and len(said) == 12
    assert not found.predicted.holds
    for sizes, count, why in (({"a": 1, "b": 1}, 11, "too few to fit"), ({"a": 1}, 12, "one label only")):
        with pytest.raises(InputError, match=why):
            search(first, "label", sizes, count, Runs(), said.append)  # type: ignore[arg-type]
