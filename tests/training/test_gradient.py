"""The gradient of a step against autograd written out: the balance loss is in it, it is divided by all weights."""

from __future__ import annotations

import contextlib

import numpy as np
import torch
from small_run import objective

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.training.distributed.parallel import Layout
from tutelage.training.distributed.world import World
from tutelage.training.gradient import step_gradient


def test_the_balance_loss_of_experts_is_part_of_the_gradient(tiny: ModelConfig) -> None:
    experts = {"num_experts": 4, "experts_per_token": 2, "intermediate_size": 24, "balance": "auxiliary",
               "balance_rate": 0.5}  # fmt: skip
    shape = FamilyConfig.parse({**tiny.plain(), "family": "custom", "experts": experts})
    model, other, goal = DecoderLM(shape).train(), DecoderLM(shape).train(), objective()
    batch = goal.rows["train"].batch(np.arange(4))
    step_gradient(model, goal, [batch], 1e9, contextlib.nullcontext(), World(), Layout())
    loss = goal.loss(other, batch)
    balance = other.auxiliary_loss()
    assert balance is not None and balance.item() > 0
    (loss.sum / loss.weight + balance).backward()
    plain = DecoderLM(shape).train()
    loss = goal.loss(plain, batch)
    (loss.sum / loss.weight).backward()
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        assert one.grad is not None and two.grad is not None
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-7, msg=name)
    router = next(name for name, _ in model.named_parameters() if "router" in name)
    without = dict(plain.named_parameters())[router].grad
    with_it = dict(model.named_parameters())[router].grad
    assert without is not None and with_it is not None and not torch.allclose(without, with_it, rtol=1e-2)


def test_microbatches_of_unequal_weight_are_divided_by_the_weight_of_all(tiny: ModelConfig) -> None:
    """Neither by the last microbatch's weight nor by the mean of their means."""
    model, other, goal = DecoderLM(tiny).train(), DecoderLM(tiny).train(), objective()
    batch = goal.rows["train"].batch(np.arange(4))
    batch.weights[:2] *= (torch.arange(32) < 3).float()
    parts = [goal.rows["train"].batch(np.arange(at, at + 2)) for at in (0, 2)]
    parts[0].weights *= (torch.arange(32) < 3).float()
    total, norm = step_gradient(model, goal, parts, 1e9, contextlib.nullcontext(), World(), Layout())
    loss = goal.loss(other, batch)
    (loss.sum / loss.weight).backward()
    assert total["weight"] == float(batch.weights.sum())
    grads = [parameter.grad for parameter in other.parameters() if parameter.grad is not None]
    assert abs(norm - float(torch.nn.utils.get_total_norm(grads))) < 1e-5
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-7, msg=name)
