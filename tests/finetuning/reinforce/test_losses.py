"""Values against TRL's own, gradients against differences, estimators against the exact KL. All in float64."""

from __future__ import annotations

import itertools

import pytest
import torch

from tutelage.finetuning.reinforce.config import PRESETS, ReinforceConfig
from tutelage.finetuning.reinforce.losses import (
    advantages,
    aggregate,
    is_clipped,
    kl_estimate,
    log_ratios,
    surrogate,
)
from tutelage.finetuning.reinforce.method import Method

# Four answers of one group, rewards 1, 0, 0, 1, at most 8 tokens. One entry beyond the second answer's end is
# above 0 on purpose: what is masked must not matter.
LENGTHS = [5, 3, 2, 4]
NEW = [
    [-1.069845, -0.397606, -1.318423, -1.313781, -0.465523],
    [-0.850123, -0.414172, -1.259473, -0.730632, -1.702537],
    [-1.709886, -1.10187, -0.573678, -0.412639, -0.89018],
    [-0.718572, -1.440761, -0.146104, -1.939839, -0.215573],
]
OLD = [
    [-1.010312, -0.162985, -1.006691, -1.531134, -0.506154],
    [-0.625987, -0.230627, -0.699138, 0.022849, -2.078972],
    [-1.464949, -1.42149, -1.064784, -0.365325, -0.771458],
    [-1.128894, -1.470981, -0.074999, -1.750035, -0.243076],
]
REFERENCE = [
    [-1.146268, -0.630985, -1.245708, -1.376909, -0.539056],
    [-1.026559, -0.30497, -1.22977, -1.182189, -1.621677],
    [-1.595446, -1.040308, -0.316134, -0.238951, -1.16662],
    [-0.911218, -1.520453, -0.180737, -1.788463, -0.018328],
]
ANSWER = torch.tensor([number for number, length in enumerate(LENGTHS) for _ in range(length)])
REWARDS = torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=torch.float64)


def flat(rows):
    return torch.tensor([v for row, n in zip(rows, LENGTHS, strict=True) for v in row[:n]], dtype=torch.float64)


def method(**settings) -> Method:
    return ReinforceConfig.parse({"data": "x.jsonl", "max_tokens": 8, **settings}).method()


def value(**settings) -> float:
    """The loss of the fixture; `epsilon`s are TRL's .2 unless said otherwise."""
    made = method(**{"epsilon": 0.2, "epsilon_high": 0.2, **settings})
    advantage = advantages(REWARDS, made.advantage)[0][ANSWER]
    total, weight = made.loss(flat(NEW), flat(OLD), flat(REFERENCE), advantage, ANSWER, 4)
    return float(total / weight)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"preset": "grpo"}, -0.008564),
        ({"preset": "grpo", "beta": 0.04}, -0.008307),
        ({"preset": "grpo", "beta": 0.04, "kl_corrected": False}, -0.008296),
        ({"preset": "bnpo"}, -0.252772),
        ({"preset": "dr_grpo", "advantage": "group"}, -0.110588),
        ({"preset": "dapo", "epsilon_high": 0.28}, -0.260366),
        ({"preset": "gspo"}, -0.030451),
        ({"preset": "cispo", "ratio_cap": 5.0}, 0.254530),
        ({"preset": "sapo"}, -0.086050),
        ({"preset": "luspo"}, -0.946306),
        ({"preset": "rloo"}, -0.0042338),
    ],
)
def test_values_of_trl(settings, expected):
    assert value(**settings) == pytest.approx(expected, rel=2e-5, abs=6e-7)


def test_every_preset_has_a_value_of_trl():
    assert set(PRESETS) == {"grpo", "bnpo", "dr_grpo", "dapo", "gspo", "cispo", "sapo", "luspo", "rloo"}


def test_advantages_of_the_fixture():
    assert advantages(REWARDS, "group")[0].tolist() == pytest.approx([0.8658754, -0.8658754, -0.8658754, 0.8658754])
    assert advantages(REWARDS, "leave_one_out")[0].tolist() == pytest.approx([2 / 3, -2 / 3, -2 / 3, 2 / 3])
    assert advantages(REWARDS, "mean")[0].tolist() == [0.5, -0.5, -0.5, 0.5]


def test_leave_one_out_is_the_reward_less_the_mean_of_the_others():
    rewards = torch.rand(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = advantages(rewards, "leave_one_out")
    for group, own in itertools.product(range(3), range(5)):
        others = [float(rewards[group, other]) for other in range(5) if other != own]
        assert float(found[group, own]) == pytest.approx(float(rewards[group, own]) - sum(others) / 4)


@pytest.mark.parametrize("kind", ["group", "mean", "batch", "leave_one_out"])
def test_a_group_without_variance_pushes_nothing(kind):
    rewards = torch.tensor([[0.1] * 3, [0.0, 0.3, 1.0], [1 / 3] * 3])  # 0.1 three times has another mean in floats
    found = advantages(rewards, kind)
    assert found[0].tolist() == found[2].tolist() == [0.0] * 3
    assert found.isfinite().all() and (found[1] != 0).any()
    assert advantages(torch.full((2, 4), 0.7), kind).tolist() == [[0.0] * 4] * 2


def test_the_batch_deviation_leaves_groups_their_own_means():
    rewards = torch.tensor([[0.0, 1.0], [0.0, 0.1]], dtype=torch.float64)
    found = advantages(rewards, "batch")
    assert found[0, 1] / found[1, 1] == pytest.approx(10.0)  # a division by each group's own would make these equal
    assert found[0, 1] == pytest.approx(0.5 / (float(rewards.std()) + 1e-4))


@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"cispo"}))  # whose weight is held constant: see below
@pytest.mark.parametrize("kl", ["k1", "k2", "k3"])
def test_gradients(preset, kl):
    made = method(preset=preset, beta=0.3, kl=kl, kl_in="loss", epsilon=0.2, epsilon_high=0.3)
    advantage = advantages(REWARDS, made.advantage)[0][ANSWER]

    def loss(new):
        total, weight = made.loss(new, flat(OLD), flat(REFERENCE), advantage, ANSWER, 4)
        return total / weight

    assert torch.autograd.gradcheck(loss, flat(NEW).requires_grad_())


def test_cispo_weighs_the_gradient_of_every_token_by_its_bounded_ratio():
    new, advantage = flat(NEW).requires_grad_(), torch.full((len(ANSWER),), -2.0, dtype=torch.float64)
    ratio = log_ratios(new, flat(OLD), ANSWER, 4, "token")
    surrogate(new, ratio, advantage, "cispo", 0.2, 0.2, cap=1.1).sum().backward()
    expected = 2 * (flat(NEW) - flat(OLD)).exp().clamp(max=1.1)
    assert new.grad is not None and torch.allclose(new.grad, expected)


def test_what_is_clipped_has_no_gradient():
    new, old = flat(NEW).requires_grad_(), flat(OLD)
    advantage = advantages(REWARDS, "group")[0][ANSWER]
    ratio = log_ratios(new, old, ANSWER, 4, "token")
    surrogate(new, ratio, advantage, "clip", 0.2, 0.3).sum().backward()
    clipped = is_clipped(ratio.detach(), advantage, "clip", 0.2, 0.3, 5.0)
    assert 0 < clipped.sum() < len(clipped)
    assert new.grad is not None and torch.equal(new.grad == 0, clipped)


def test_the_dual_clip_bounds_a_bad_answer_that_became_likely():
    ratio = torch.tensor([5.0, 5.0, 0.5], dtype=torch.float64).log()
    advantage = torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64)
    plain = surrogate(ratio, ratio, advantage, "clip", 0.2, 0.2)
    bounded = surrogate(ratio, ratio, advantage, "clip", 0.2, 0.2, delta=3.0)
    assert plain.tolist() == pytest.approx([5.0, -1.2, 0.8]) and bounded.tolist() == pytest.approx([3.0, -1.2, 0.8])


@pytest.mark.parametrize(
    ("kind", "shares"),
    [
        # Of two answers with 2 and 8 tokens: a token of the short one against one of the long one.
        ("answer_mean", 4.0), ("token_mean", 1.0), ("answer_sum", 1.0), ("fixed_length", 1.0),
    ],
)  # fmt: skip
def test_length_bias(kind, shares):
    answer = torch.tensor([0] * 2 + [1] * 8)
    new = torch.zeros(10, dtype=torch.float64, requires_grad=True)
    total, weight = aggregate(-new, answer, 2, kind, 8)
    (total / weight).backward()
    assert new.grad is not None and float(new.grad[0] / new.grad[-1]) == pytest.approx(shares)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_batch_in_parts_is_the_batch_whole(preset):
    made = method(preset=preset, beta=0.1, epsilon=0.2, epsilon_high=0.2)
    advantage = advantages(REWARDS, made.advantage)[0]

    def part(numbers):
        at = torch.isin(ANSWER, torch.tensor(numbers))
        answer = torch.unique(ANSWER[at], return_inverse=True)[1]
        given = [flat(values)[at] for values in (NEW, OLD, REFERENCE)]
        return made.loss(*given, advantage[ANSWER[at]], answer, len(numbers))

    whole = part([0, 1, 2, 3])
    parts = [part([0]), part([1]), part([2]), part([3])]
    assert float(sum(total for total, _ in parts)) == pytest.approx(float(whole[0]), rel=1e-12)
    assert float(sum(weight for _, weight in parts)) == float(whole[1])


# The estimators, on a categorical of five tokens, where everything is known exactly.
LOGITS = torch.tensor([0.3, -1.0, 0.9, 0.1, -0.4], dtype=torch.float64)
OTHER = torch.tensor([-0.2, 0.4, 0.6, -0.9, 0.2], dtype=torch.float64).log_softmax(0)


def exact():
    """KL(policy || reference) and its gradient by the logits."""
    logits = LOGITS.clone().requires_grad_()
    policy = logits.log_softmax(0)
    kl = (policy.exp() * (policy - OTHER)).sum()
    return kl.detach(), torch.autograd.grad(kl, logits)[0]


def estimated(kind, corrected, samples=None):
    """Value and gradient on average: exactly, or over `samples` drawn from the policy."""
    logits = LOGITS.clone().requires_grad_()
    policy = logits.log_softmax(0)
    probability = policy.exp().detach()
    if samples is not None:
        drawn = torch.multinomial(probability, samples, True, generator=torch.Generator().manual_seed(3))
        probability = torch.bincount(drawn, minlength=5) / samples
    estimate = kl_estimate(policy, OTHER, kind)
    if corrected:
        estimate = estimate * (policy - policy.detach()).exp()
    mean = (probability * estimate).sum()
    return mean.detach(), torch.autograd.grad(mean, logits)[0]


@pytest.mark.parametrize(
    ("kind", "corrected", "value_holds", "gradient_holds"),
    [("k1", False, True, False), ("k2", False, False, True), ("k3", False, True, False),
     ("k1", True, True, True), ("k3", True, True, True)],
)  # fmt: skip
@pytest.mark.parametrize(("samples", "near"), [(None, 1e-12), (400_000, 6e-3)])
def test_estimators_of_the_kl(kind, corrected, value_holds, gradient_holds, samples, near):
    """What each one estimates without bias, by enumeration and by Monte Carlo."""
    kl, gradient = exact()
    value, slope = estimated(kind, corrected, samples)
    assert bool(abs(value - kl) < near) is value_holds
    assert bool((slope - gradient).abs().max() < near) is gradient_holds


def test_k1_as_a_loss_does_nothing_and_k3_follows_another_divergence():
    assert estimated("k1", False)[1].abs().max() < 1e-12
    logits = LOGITS.clone().requires_grad_()
    policy = logits.log_softmax(0)
    reverse = (OTHER.exp() * (OTHER - policy)).sum()
    assert torch.allclose(estimated("k3", False)[1], torch.autograd.grad(reverse, logits)[0])
    assert (kl_estimate(LOGITS.log_softmax(0), OTHER, "k3") >= 0).all()
