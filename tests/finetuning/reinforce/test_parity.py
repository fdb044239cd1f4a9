"""Against TRL's own loss on random numbers, where TRL is installed: values, and gradients by every token."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from tutelage.finetuning.reinforce.config import ReinforceConfig
from tutelage.finetuning.reinforce.losses import advantages

pytestmark = pytest.mark.parity
LONGEST = 9
TRL_NAMES = {"gspo": "grpo"}  # TRL's loss_type, where it is not the preset's name


@pytest.fixture(scope="module")
def trl_loss():
    trainer = pytest.importorskip("trl.trainer.grpo_trainer").GRPOTrainer

    def loss(new, old, reference, mask, advantage, kind, level, made):
        args = SimpleNamespace(use_bias_correction_kl=made.kl_corrected, delta=made.delta, steps_per_generation=1,
                               sapo_temperature_pos=1.0, sapo_temperature_neg=1.05)  # fmt: skip
        same = lambda value: value  # noqa: E731
        stub = SimpleNamespace(
            args=args, loss_type=kind, importance_sampling_level=level, beta=made.beta, epsilon_low=made.epsilon,
            epsilon_high=made.ratio_cap if kind == "cispo" else made.epsilon_high, max_completion_length=LONGEST,
            current_gradient_accumulation_steps=1, top_entropy_quantile=1.0, off_policy_mask_threshold=None,
            use_vllm=False, aux_loss_enabled=False, _entropy_bonus_enabled=False,
            _metrics=defaultdict(lambda: defaultdict(list)),
            accelerator=SimpleNamespace(num_processes=1, gather=same, reduce=lambda value, reduction: value),
            model=SimpleNamespace(training=True),
            _get_per_token_logps_and_entropies=lambda *a, **b: (new, torch.zeros_like(new), None),
        )  # fmt: skip
        ids = torch.zeros_like(mask, dtype=torch.long)
        inputs = {"prompt_ids": ids[:, :1], "prompt_mask": mask[:, :1], "completion_ids": ids, "completion_mask": mask,
                  "advantages": advantage, "old_per_token_logps": old, "ref_per_token_logps": reference,
                  "num_items_in_batch": mask.sum()}  # fmt: skip
        return trainer._compute_loss(stub, None, inputs)

    return loss


@pytest.mark.parametrize(
    "settings",
    [{"preset": name, "beta": beta} for name in ("grpo", "bnpo", "dr_grpo", "dapo", "gspo", "cispo", "sapo", "luspo")
     for beta in (0.0, 0.1)]
    + [{"preset": "grpo", "beta": 0.1, "kl_corrected": False}, {"preset": "dapo", "delta": 1.4},
       {"preset": "dapo", "ratio": "sequence"}],
)  # fmt: skip
def test_loss_and_gradient_are_those_of_trl(settings, trl_loss):
    made = ReinforceConfig.parse({"data": "x.jsonl", "max_tokens": LONGEST, "epsilon": 0.2, **settings}).method()
    draw = torch.Generator().manual_seed(5)
    lengths = [9, 1, 4, 7, 2, 9, 5, 3]
    mask = (torch.arange(LONGEST)[None] < torch.tensor(lengths)[:, None]).long()
    shape = (len(lengths), LONGEST)
    old = -torch.rand(shape, generator=draw, dtype=torch.float64)
    new = (old + 0.4 * torch.randn(shape, generator=draw, dtype=torch.float64)).requires_grad_()
    reference = old + 0.4 * torch.randn(shape, generator=draw, dtype=torch.float64)
    advantage = advantages(torch.rand(2, 4, generator=draw), made.advantage).flatten()

    kind = TRL_NAMES.get(settings["preset"], settings["preset"])
    theirs = trl_loss(new, old, reference, mask, advantage, kind, made.ratio, made)
    at = mask.bool()
    answer = torch.arange(len(lengths))[:, None].expand(shape)[at]
    total, weight = made.loss(new[at], old[at], reference[at], advantage[answer], answer, len(lengths))
    ours = total / weight
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-9, abs=1e-12)
    (their_slope,), (our_slope,) = torch.autograd.grad(theirs, new), torch.autograd.grad(ours, new)
    assert torch.allclose(our_slope, their_slope, rtol=1e-9, atol=1e-12) and our_slope.abs().sum() > 0
