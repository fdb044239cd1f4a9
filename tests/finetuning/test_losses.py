"""Golden values: TRL 1.16.0's own losses on these log-probabilities, re-derived by hand.

Every loss is also differentiated numerically, and computed by TRL's own code where TRL is installed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import logsigmoid

from tutelage.finetuning.prefer.defaults import KNOWN, settings_of
from tutelage.finetuning.prefer.losses import (
    Pairs,
    judged_loss,
    log_odds_ratio,
    loss_weights,
    preference_loss,
    reference_point,
    reward_loss,
    rewards,
)

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
TOKENS = torch.tensor([float(len(row)) for row in POLICY], dtype=torch.float64)
PAIR_LOSSES = [name for name, known in KNOWN.items() if not known.judged]
LABELS = torch.tensor([True, True, False, False])
KL = torch.tensor([-3.0, -2.5, -4.0, -3.2]) - torch.tensor([-3.3, -2.9, -4.1, -3.0])


def summed(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor([sum(row) for row in rows], dtype=torch.float64)


def the_pairs(reference: bool = True) -> Pairs:
    policy = summed(POLICY)
    before = summed(REFERENCE) if reference else torch.zeros(4, dtype=torch.float64)
    return Pairs(policy[:2], policy[2:], before[:2], before[2:], TOKENS[:2], TOKENS[2:])


def mean(kind: str, pairs: Pairs, beta: float = 0.1, **more: float) -> float:
    return float(preference_loss(kind, pairs, beta, **more).sum() / loss_weights(kind, pairs).sum())


GOLDEN = [
    ("sigmoid", 0.0, 0.614300), ("hinge", 0.0, 0.827571), ("ipo", 0.0, 18.678770), ("exo_pair", 0.1, 0.424327),
    ("nca_pair", 0.0, 1.352464), ("robust", 0.1, 0.592746), ("bco_pair", 0.0, 1.306751), ("sppo_hard", 0.0, 38.109718),
    ("aot", 0.0, 0.612449), ("aot_unpaired", 0.0, 0.610726), ("apo_zero", 0.0, 0.957155), ("apo_down", 0.0, 1.005744),
    ("discopop", 0.0, 0.777872), ("sft", 0.0, 0.484263), ("sigmoid_norm", 0.0, 0.659094),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "smoothing", "golden"), GOLDEN)
def test_golden_with_a_reference(kind, smoothing, golden):
    assert preference_loss(kind, the_pairs(), 0.1, smoothing).shape == (2,)
    assert mean(kind, the_pairs(), label_smoothing=smoothing) == pytest.approx(golden, rel=2e-5)


def test_golden_rewards():
    chosen, rejected = rewards("sigmoid", the_pairs(), 0.1)
    assert chosen.mean().item() == pytest.approx(0.194807, rel=2e-5)
    assert rejected.mean().item() == pytest.approx(0.022378, rel=5e-5)
    assert (chosen - rejected).mean().item() == pytest.approx(0.172429, rel=2e-5)
    assert (chosen > rejected).all()


def test_golden_without_a_reference():
    """CPO is DPO with a reference that finds everything equally likely; hinge and ipo of TRL's CPO trainer likewise."""
    free = the_pairs(reference=False)
    found = {kind: preference_loss(kind, free, 0.1).tolist() for kind in ("cpo", "hinge", "ipo")}
    assert found["cpo"] == pytest.approx([0.523863, 0.545018], rel=2e-5)
    assert found["hinge"] == pytest.approx([0.626816, 0.677919], rel=2e-5)
    assert found["ipo"] == pytest.approx([17.490469, 21.788347], rel=2e-5)
    simpo = preference_loss("simpo", free, 2.0, gamma_beta_ratio=0.25)  # a margin gamma of .5
    assert simpo.tolist() == pytest.approx([0.278544, 0.614321], rel=2e-5)
    assert (-preference_loss("orpo", free, 0.1)).tolist() == pytest.approx([-0.0203555, -0.0410211], rel=2e-5)
    odds = log_odds_ratio(free.chosen / free.chosen_tokens, free.rejected / free.rejected_tokens)
    assert odds.mean().item() == pytest.approx(1.083646, rel=2e-5)


def test_golden_kto():
    point = reference_point(KL)
    assert float(point) == pytest.approx(0.15)
    ratios = summed(POLICY) - summed(REFERENCE)
    loss = judged_loss("kto", ratios, LABELS, 0.1, point, 1.0, 1.5)
    assert loss.mean().item() == pytest.approx(0.604020, rel=2e-5)
    apo = judged_loss("apo_zero_unpaired", ratios, LABELS, 0.1, point, 1.0, 1.5)  # which has no reference point
    assert apo.mean().item() == pytest.approx(0.604974, rel=2e-5)
    assert float(reference_point(-KL)) == 0.0


def test_golden_reward():
    chosen, rejected = torch.tensor([1.2, -0.3]), torch.tensor([0.4, 0.1])
    assert reward_loss(chosen, rejected).mean().item() == pytest.approx(0.642058, rel=2e-5)
    assert reward_loss(chosen, rejected, centering=0.01).mean().item() == pytest.approx(0.655058, rel=2e-5)
    margin = torch.tensor([0.5, 1.0])
    expected = -logsigmoid(chosen - rejected - margin)
    assert torch.allclose(reward_loss(chosen, rejected, margin), expected)


def inputs(seed: int, pairs: int = 5) -> list[torch.Tensor]:
    """Log-probabilities of both sides under both models, double precision, no two alike."""
    generator = torch.Generator().manual_seed(seed)
    return [(-12 * torch.rand(pairs, generator=generator, dtype=torch.float64) - 0.5) for _ in range(4)]


@pytest.mark.parametrize("kind", PAIR_LOSSES)
@pytest.mark.parametrize("beta", [0.1, 1.3])
def test_gradients_are_those_of_finite_differences(kind, beta):
    settings = settings_of(kind) | {"label_smoothing": 0.1 if KNOWN[kind].smoothing is not None else 0.0}
    lengths = torch.tensor([3.0, 9, 4, 7, 5], dtype=torch.float64)

    def loss(chosen, rejected, reference_chosen, reference_rejected):
        pairs = Pairs(chosen, rejected, reference_chosen, reference_rejected, lengths, lengths.flip(0))
        return preference_loss(kind, pairs, beta, settings["label_smoothing"], settings["gamma_beta_ratio"])

    given = inputs(3)
    if not KNOWN[kind].reference:
        given[2:] = [torch.zeros(5, dtype=torch.float64)] * 2
    leaves = [given[0].requires_grad_(), given[1].requires_grad_(), *given[2:]]
    assert torch.autograd.gradcheck(loss, leaves)


@pytest.mark.parametrize("kind", ["kto", "apo_zero_unpaired"])
def test_gradients_of_judged_answers_are_those_of_finite_differences(kind):
    policy, reference, other, _ = inputs(4, 4)
    # The reference point is a constant: no gradient flows into what it was estimated on.
    other.requires_grad_()

    def loss(ratios):
        return judged_loss(kind, ratios, LABELS, 0.7, reference_point(other + 20), 1.0, 1.5)

    ratios = (policy - reference).requires_grad_()
    assert torch.autograd.gradcheck(loss, (ratios,))
    loss(ratios).sum().backward()
    assert other.grad is None and (ratios.grad[:2] < 0).all() and (ratios.grad[2:] > 0).all()


def test_gradients_of_the_reward_loss_are_those_of_finite_differences():
    chosen, rejected, margin, _ = inputs(5)
    leaves = (chosen.requires_grad_(), rejected.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: reward_loss(a, b, margin.detach().abs(), 0.01), leaves)


@pytest.mark.parametrize("kind", PAIR_LOSSES)
def test_extreme_log_probabilities_give_finite_losses_and_gradients(kind):
    settings = settings_of(kind)
    for scale in (1e-9, 300.0):
        chosen, rejected = (torch.tensor([-scale, -2 * scale], requires_grad=True) for _ in range(2))
        pairs = Pairs.without_reference(chosen, rejected, torch.tensor([1.0, 4.0]), torch.tensor([2.0, 1.0]))
        loss = preference_loss(kind, pairs, 0.1, settings["label_smoothing"], settings["gamma_beta_ratio"])
        loss.sum().backward()
        assert torch.isfinite(loss).all() and torch.isfinite(chosen.grad).all()
        assert kind == "sft" or torch.isfinite(rejected.grad).all()


def test_smoothing_is_the_mixture_of_both_orders():
    pairs = the_pairs()
    turned = Pairs(pairs.rejected, pairs.chosen, pairs.reference_rejected, pairs.reference_chosen,
                   pairs.rejected_tokens, pairs.chosen_tokens)  # fmt: skip
    for kind in ("sigmoid", "sigmoid_norm"):
        plain, swapped = (preference_loss(kind, one, 0.1) for one in (pairs, turned))
        smoothed = preference_loss(kind, pairs, 0.1, label_smoothing=0.1)
        assert torch.allclose(smoothed, 0.9 * plain + 0.1 * swapped)


def test_aot_of_one_pair_is_dpo_and_of_many_does_not_see_their_order():
    pairs = Pairs(*inputs(6), torch.ones(5), torch.ones(5))
    for kind in ("aot", "aot_unpaired"):
        one = Pairs(*(getattr(pairs, name)[:1] for name in pairs.__dataclass_fields__))
        assert torch.allclose(preference_loss(kind, one, 0.3), preference_loss("sigmoid", one, 0.3))
        turned = Pairs(*(getattr(pairs, name).flip(0) for name in pairs.__dataclass_fields__))
        assert torch.allclose(preference_loss(kind, pairs, 0.3).mean(), preference_loss(kind, turned, 0.3).mean())


@given(st.floats(0.01, 5.0), st.sampled_from([0.0, 0.2]))
def test_policy_equal_to_reference_costs_ln_2(beta, smoothing):
    same, tokens = torch.tensor([-1.0, -7.0, -3.0]), torch.tensor([1.0, 5.0, 9.0])
    pairs = Pairs(same, same, same, same, tokens, tokens.flip(0))
    loss = preference_loss("sigmoid", pairs, beta, smoothing)
    assert torch.allclose(loss, torch.full((3,), math.log(2)))


@given(
    st.sampled_from(["sigmoid", "sigmoid_norm", "hinge", "cpo", "simpo", "orpo"]),
    st.floats(-9, -4), st.floats(0.1, 3),
)  # fmt: skip
def test_a_likelier_chosen_answer_never_costs_more(kind, logp, more):
    one, rejected = torch.ones(1), torch.tensor([-5.0])
    small, large = (Pairs.without_reference(value * one, rejected, 3 * one, 3 * one) for value in (logp, logp + more))
    assert preference_loss(kind, large, 0.5).item() <= preference_loss(kind, small, 0.5).item()


# TRL's own code, where it is installed. It is private and moves: its version is the one that was read.


def trl_or_skip():
    trl = pytest.importorskip("trl")
    if trl.__version__ != "1.16.0":
        pytest.skip("TRL's private losses are known for 1.16.0")
    return trl


def padded(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor([row + [0.0] * (6 - len(row)) for row in rows])


def by_trl(kind: str, beta: float, smoothing: float) -> float:
    """The value of TRL's DPOTrainer: its loss on a stub in the place of the model."""
    from trl import DPOTrainer

    mask = torch.tensor([[1] * (len(row) + 1) + [0] * (6 - len(row)) for row in POLICY])
    completion = torch.tensor([[0] + [1] * len(row) + [0] * (6 - len(row)) for row in POLICY])
    policy, reference = padded(POLICY), padded(REFERENCE)
    made = DPOTrainer.__new__(DPOTrainer)
    nothing = torch.zeros_like(policy)
    stub = SimpleNamespace(
        log_probs=policy, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool(), log_sum_sq_probs=nothing
    )
    defaults = {
        "loss_types": [kind], "loss_weights": [1.0], "beta": beta, "label_smoothing": smoothing, "ld_alpha": None,
        "use_weighting": False, "f_divergence_type": "reverse_kl", "f_alpha_divergence_coef": 0.5,
        "precompute_ref_logps": True, "aux_loss_enabled": False, "_metrics": defaultdict(lambda: defaultdict(list)),
        "_total_train_tokens": 0, "_tp_size": 1,
    }  # fmt: skip
    for name, value in defaults.items():
        setattr(made, name, value)
    made.model = SimpleNamespace(training=True)
    made.args = SimpleNamespace(discopop_tau=0.05)
    made.accelerator = SimpleNamespace(
        gather_for_metrics=lambda value: value, gather=lambda value: value, device=torch.device("cpu")
    )
    sums = (reference * completion[:, 1:]).sum(1)
    given = {
        "input_ids": torch.zeros_like(mask), "attention_mask": mask, "completion_mask": completion,
        "ref_chosen_logps": sums[:2], "ref_rejected_logps": sums[2:],
    }  # fmt: skip
    return float(made._compute_loss(lambda **_: stub, given, False))


@pytest.mark.parametrize("kind", [name for name, _, _ in GOLDEN])
def test_parity_with_trl(kind):
    trl_or_skip()
    smoothing = {"robust": 0.1, "exo_pair": 0.1, "aot": 0.2, "aot_unpaired": 0.2}.get(kind, 0.0)
    theirs = by_trl(kind, 0.3, smoothing)
    assert mean(kind, the_pairs(), 0.3, label_smoothing=smoothing) == pytest.approx(theirs, rel=1e-5)


def test_parity_with_trl_without_a_reference():
    trl_or_skip()
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer

    chosen, rejected, _, _ = inputs(8)
    tokens = torch.tensor([3.0, 9, 4, 7, 5], dtype=torch.float64)
    pairs = Pairs.without_reference(chosen, rejected, tokens, tokens.flip(0))
    means = chosen / tokens, rejected / tokens.flip(0)
    orpo = ORPOTrainer.__new__(ORPOTrainer)
    orpo.beta, orpo.accelerator = 0.3, SimpleNamespace(device=torch.device("cpu"))
    assert torch.allclose(preference_loss("orpo", pairs, 0.3), -orpo.odds_ratio_loss(*means)[0].double(), rtol=1e-5)
    cpo = CPOTrainer.__new__(CPOTrainer)
    cpo.accelerator = orpo.accelerator
    cpo.beta, cpo.label_smoothing, cpo.loss_type = 0.3, 0.1, "sigmoid"
    cpo.args = SimpleNamespace(loss_type="sigmoid")
    cpo.alpha = 0.0
    assert torch.allclose(preference_loss("cpo", pairs, 0.3, 0.1), cpo.cpo_loss(chosen, rejected)[0])
    cpo.beta, cpo.loss_type, cpo.label_smoothing = 2.0, "simpo", 0.0
    cpo.simpo_gamma = 1.0
    assert torch.allclose(preference_loss("simpo", pairs, 2.0, 0.0, 0.5), cpo.cpo_loss(*means)[0])


@pytest.mark.parametrize("kind", ["kto", "apo_zero_unpaired"])
def test_parity_with_trl_of_judged_answers(kind):
    trl_or_skip()
    from trl import KTOTrainer

    made = KTOTrainer.__new__(KTOTrainer)
    completion = torch.tensor([[0] + [1] * len(row) + [0] * (6 - len(row)) for row in POLICY])
    policy, reference = padded(POLICY), padded(REFERENCE)
    nothing = torch.zeros_like(policy)
    stub = SimpleNamespace(log_probs=policy, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())
    settings = {
        "model": SimpleNamespace(training=True), "aux_loss_enabled": False, "precompute_ref_logps": True,
        "calculate_KL": kind == "kto", "loss_type": kind, "beta": 0.2, "desirable_weight": 1.0,
        "undesirable_weight": 1.5, "_metrics": defaultdict(lambda: defaultdict(list)), "_total_train_tokens": 0,
        "_tp_size": 1, "accelerator": SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=lambda one: one),
        "_compute_kl_logps": lambda model, batch: torch.tensor([-3.0, -2.5, -4.0, -3.2]),
    }  # fmt: skip
    for name, value in settings.items():
        setattr(made, name, value)
    given = {
        "label": LABELS, "input_ids": torch.zeros_like(completion), "attention_mask": torch.ones_like(completion),
        "completion_mask": completion, "ref_logps": reference.sum(1),
        "ref_KL_logps": torch.tensor([-3.3, -2.9, -4.1, -3.0]),
    }  # fmt: skip
    theirs = float(made._compute_loss(lambda **_: stub, given, False))
    ratios = summed(POLICY) - summed(REFERENCE)
    ours = judged_loss(kind, ratios, LABELS, 0.2, reference_point(KL), 1.0, 1.5)
    assert ours.mean().item() == pytest.approx(theirs, rel=1e-5)
