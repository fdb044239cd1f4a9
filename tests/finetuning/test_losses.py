"""Golden values: TRL 1.16.0's own `_compute_loss` on these log-probabilities, re-derived by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.finetuning.prefer.losses import log_ratios, preference_loss

# Per-token log-probabilities of two chosen and two rejected responses; lengths 3, 2, 4, 5.
POLICY = [
    [-0.057958, -0.803797, -0.519688],
    [-0.103595, -0.936278],
    [-1.549701, -1.641605, -0.558553, -1.363422],
    [-0.477512, -1.462569, -1.202445, -0.608657, -0.509504],
]
REFERENCE = [
    [-1.933022, -1.479898, -0.903436],
    [-1.332449, -0.668646],
    [-1.687229, -0.853017, -1.912292, -0.153954],
    [-1.08284, -1.28378, -0.595193, -1.415323, -0.837891],
]
TOKENS = torch.tensor([float(len(row)) for row in POLICY])


def summed(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor([sum(row) for row in rows])


def ratios() -> tuple[torch.Tensor, torch.Tensor]:
    policy, reference = summed(POLICY), summed(REFERENCE)
    return log_ratios(policy[:2], policy[2:], reference[:2], reference[2:])


GOLDEN = [("sigmoid", 0.614300), ("hinge", 0.827571), ("ipo", 18.678770), ("sigmoid_norm", 0.659094)]


@pytest.mark.parametrize(("kind", "golden"), GOLDEN)
def test_golden(kind, golden):
    chosen, rejected = ratios()
    loss = preference_loss(kind, chosen, rejected, TOKENS[:2], TOKENS[2:], beta=0.1)
    assert loss.shape == (2,)
    assert loss.mean().item() == pytest.approx(golden, rel=2e-5)


def test_golden_rewards_and_nll():
    chosen, rejected = ratios()
    assert 0.1 * chosen.mean().item() == pytest.approx(0.194807, rel=2e-5)
    assert 0.1 * rejected.mean().item() == pytest.approx(0.022378, rel=5e-5)
    assert -summed(POLICY)[:2].sum().item() / 5 == pytest.approx(0.484263, rel=2e-5)  # "sft" of TRL


def test_smoothing_is_the_mixture_of_both_orders():
    chosen, rejected = ratios()
    tokens = torch.ones(2)
    plain = preference_loss("sigmoid", chosen, rejected, tokens, tokens, 0.1)
    swapped = preference_loss("sigmoid", rejected, chosen, tokens, tokens, 0.1)
    smoothed = preference_loss("sigmoid", chosen, rejected, tokens, tokens, 0.1, label_smoothing=0.1)
    assert torch.allclose(smoothed, 0.9 * plain + 0.1 * swapped)
    # TRL's `robust` is the same mixture made unbiased: ((1-e) L - e L') / (1-2e), golden .592746.
    assert ((0.9 * plain - 0.1 * swapped) / 0.8).mean().item() == pytest.approx(0.592746, rel=2e-5)


@given(st.floats(0.01, 5.0), st.sampled_from([0.0, 0.2]))
def test_policy_equal_to_reference_costs_ln_2(beta, smoothing):
    zero, tokens = torch.zeros(3), torch.tensor([1.0, 5.0, 9.0])
    loss = preference_loss("sigmoid", zero, zero, tokens, tokens.flip(0), beta, smoothing)
    assert torch.allclose(loss, torch.full((3,), math.log(2)))


@given(st.sampled_from(["sigmoid", "sigmoid_norm", "hinge"]), st.floats(-3, 3), st.floats(0.1, 3))
def test_a_larger_margin_never_costs_more(kind, margin, more):
    one = torch.ones(1)
    small = preference_loss(kind, margin * one, 0 * one, one, one, 0.5)
    large = preference_loss(kind, (margin + more) * one, 0 * one, one, one, 0.5)
    assert large.item() <= small.item()
