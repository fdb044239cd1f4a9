"""Mixture of experts: nothing dropped, load balanced, padding not counted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from family_configs import EXPERTS, SIZES
from tutelage.model.decoder import DecoderLM
from tutelage.model.experts import MixtureOfExperts
from tutelage.model.families import FamilyConfig
from tutelage.model.mask import AttentionMask
from tutelage.model.step import Step


def mixture(**changes: Any) -> MixtureOfExperts:
    config = FamilyConfig.parse({**SIZES, "family": "custom", "experts": {**EXPERTS, **changes}})
    model = DecoderLM(config, seed=1)
    part = model.layers[0].mlp
    assert isinstance(part, MixtureOfExperts)
    return part


def step(documents: torch.Tensor) -> Step:
    positions = torch.arange(documents.shape[1]).expand_as(documents)
    return Step(positions, documents, AttentionMask(positions, documents, None), None, None, None)


def texts(rows: int = 4, length: int = 32) -> tuple[torch.Tensor, Step]:
    x = torch.randn(rows, length, SIZES["hidden_size"], generator=torch.Generator().manual_seed(2))
    return x, step(torch.ones(rows, length, dtype=torch.long))


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"shared_size": 16}, {"score": "sigmoid", "groups": 3, "groups_used": 2}])
def test_every_token_gets_all_its_experts(changes: dict[str, Any]) -> None:
    """Against running every expert on every token, even when all tokens want the same two."""
    part = mixture(**changes).eval()
    part.router.weight.copy_(part.router.weight[:1] * torch.linspace(1, 1.001, 6)[:, None])
    x, where = texts()
    flat = x.flatten(0, 1)
    scores = part.router(flat)
    weights, chosen = part.choose(scores.sigmoid() if changes.get("score") == "sigmoid" else scores.softmax(-1))
    dense = torch.zeros_like(flat)
    for expert in range(6):
        out = (F.silu(flat @ part.gate_proj[expert].T) * (flat @ part.up_proj[expert].T)) @ part.down_proj[expert].T
        dense += out * (weights * (chosen == expert)).sum(1, keepdim=True)
    if changes.get("shared_size"):
        dense += part.shared(flat)
    torch.testing.assert_close(part(x, where).flatten(0, 1), dense, rtol=1e-4, atol=1e-6)


def test_a_bias_on_the_choice_evens_the_load() -> None:
    part = mixture(balance="bias", balance_rate=0.01, score="sigmoid").train()
    with torch.no_grad():
        part.router.weight.add_(torch.linspace(0, 0.3, 6)[:, None])  # some experts are liked more
    x, where = texts(8, 64)
    loads = []
    for _ in range(150):
        part(x + 0.3, where)
        assert part.load is not None
        loads.append(part.load.clone())
        part.end_of_step()
    assert loads[0].max() / loads[0].mean() > 1.5
    assert loads[-1].max() / loads[-1].mean() < 1.2
    assert all(load.sum() == 8 * 64 * 2 for load in loads)
    assert part.auxiliary is None


def test_the_auxiliary_loss_is_least_where_the_load_is_even() -> None:
    part = mixture(balance="auxiliary", balance_rate=1.0).train()
    x, where = texts(8, 64)
    with torch.no_grad():
        part.router.weight.zero_()
    part(x, where)
    assert part.auxiliary is not None
    assert float(part.auxiliary.detach()) == pytest.approx(1.0, rel=1e-4)
    with torch.no_grad():
        part.router.weight[0].add_(1.0)
    part(x.abs(), where)
    assert float(part.auxiliary.detach()) > 1.5
    part.auxiliary.backward()
    assert part.router.weight.grad is not None and part.router.weight.grad.abs().sum() > 0


def test_padding_is_not_load() -> None:
    part = mixture().train()
    x, _ = texts(2, 10)
    documents = torch.ones(2, 10, dtype=torch.long)
    documents[:, 6:] = 0
    part(x, step(documents))
    assert part.load is not None and part.load.sum() == 2 * 6 * 2


def test_a_model_trains_its_balance(tmp_path: Any) -> None:
    """The loop adds the loss and calls the end of the step: both kinds end with an even load."""
    config = FamilyConfig.parse({**SIZES, "family": "custom", "experts": {**EXPERTS, "balance": "auxiliary"}})
    model = DecoderLM(config, seed=1).train()
    assert model.auxiliary_loss() is None
    model(torch.randint(0, 96, (2, 12)))
    loss = model.auxiliary_loss()
    assert loss is not None and float(loss.detach()) > 0
    model.end_of_step()
    assert model.auxiliary_loss() is None
