"""The temperature: what is known is found again, and what is saved is calibrated for every program."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.finetuning.classify.calibrate import calibrate, temperature
from tutelage.model.decoder import DecoderLM


def drawn(n: int, labels: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Calibrated scores, and targets drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(n, labels, generator=generator)
    return scores, torch.multinomial(scores.softmax(-1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("factor", [0.3, 1.0, 5.0])
def test_scores_that_are_too_large_or_too_small_are_set_right(factor):
    scores, targets = drawn(4000)
    assert temperature(scores * factor, targets) == pytest.approx(factor, rel=0.06)


def test_it_is_the_bottom_of_the_penalised_loss():
    scores, targets = drawn(50, seed=3)
    found = math.log(temperature(3 * scores, targets))

    def loss(log_t: float) -> float:
        return float(F.cross_entropy(3 * scores / math.exp(log_t), targets, reduction="sum")) + log_t**2 / (2 * 0.5**2)

    assert loss(found) <= min(loss(found - 0.01), loss(found + 0.01)) + 1e-4


def test_few_texts_move_it_little():
    scores, targets = torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.tensor([1, 0])  # both wrong, and sure of it
    assert 1 < temperature(scores, targets) < 6
    assert temperature(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long)) == pytest.approx(1.0, abs=1e-3)


def test_the_heads_weights_carry_it(shape):
    model = DecoderLM(shape.with_(num_labels=4, labels=("a", "b", "c", "d")), seed=1)
    before = model.score.weight.clone()
    scores, targets = drawn(2000)
    found = calibrate(model, 4 * scores, targets)
    assert torch.allclose(model.score.weight * found, before) and found == pytest.approx(4, rel=0.1)
