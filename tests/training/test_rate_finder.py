"""The sweep of the learning rate: where it breaks, what it suggests, and that it leaves the model alone."""

from __future__ import annotations

import pytest
import torch
from small_run import config, objective, weights

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.training.rate_finder import find_rate


def test_it_suggests_a_rate_that_learns_and_changes_nothing(tiny: ModelConfig) -> None:
    model = DecoderLM(tiny)
    before, state = weights(model), torch.get_rng_state()
    told: list[float] = []
    found = find_rate(model, objective(), config(), seed=1, low=1e-5, high=10.0, steps=120,
                      report=lambda step, rate, loss: told.append(rate))  # fmt: skip
    assert torch.equal(weights(model), before) and torch.equal(torch.get_rng_state(), state)
    assert found.broke and told == found.rates
    assert found.rates[0] == pytest.approx(1e-5) and found.rates == sorted(found.rates)
    assert 1e-4 < found.suggested < 1e-1
    assert found.suggested < found.rates[found.losses.index(min(found.losses))]
    assert found == find_rate(model, objective(), config(), seed=1, low=1e-5, high=10.0, steps=120)


def test_a_sweep_that_does_not_break_says_so(tiny: ModelConfig) -> None:
    found = find_rate(DecoderLM(tiny), objective(), config(), seed=1, low=1e-6, high=1e-4, steps=12)
    assert not found.broke and "may have been too short" in found.why
