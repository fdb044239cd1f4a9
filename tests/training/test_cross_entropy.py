"""Chunked cross-entropy against the plain one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tutelage.training import cross_entropy
from tutelage.training.cross_entropy import linear_cross_entropy


@pytest.mark.parametrize(("rows", "kept"), [(1, 1), (2, 200), (9, 1), (9, 1 << 20), (256, 1)])
def test_values_and_gradients_equal_the_plain_loss(rows: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "ROWS", rows)
    monkeypatch.setattr(cross_entropy, "SLOPE_ELEMENTS", kept)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(23, 8, generator=generator, requires_grad=True)
    weight = torch.randn(37, 8, generator=generator, requires_grad=True)
    targets = torch.randint(0, 37, (23,), generator=generator)
    total, nll = linear_cross_entropy(hidden, weight, targets)
    ours = torch.autograd.grad(3 * total, (hidden, weight))
    plain = F.cross_entropy(hidden @ weight.mT, targets, reduction="none")
    theirs = torch.autograd.grad(3 * plain.sum(), (hidden, weight))
    assert torch.allclose(nll, plain, atol=1e-5) and not nll.requires_grad
    for one, two in zip(ours, theirs, strict=True):
        assert torch.allclose(one, two, atol=1e-4)


def test_each_value_counts_by_its_share_and_a_frozen_head_gets_no_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(23, 8, generator=generator, requires_grad=True)
    weight = torch.randn(37, 8, generator=generator)
    targets, shares = torch.randint(0, 37, (23,), generator=generator), torch.rand(23, generator=generator)
    total, nll = linear_cross_entropy(hidden, weight, targets, shares=shares)
    plain = F.cross_entropy(hidden @ weight.mT, targets, reduction="none")
    torch.testing.assert_close(nll, plain.detach())
    torch.testing.assert_close(total, (plain * shares).sum())
    ours, theirs = (torch.autograd.grad(one, hidden)[0] for one in (total, (plain * shares).sum()))
    torch.testing.assert_close(ours, theirs)


def test_no_gradient_is_made_where_none_is_wanted() -> None:
    with torch.no_grad():
        total, _ = linear_cross_entropy(torch.randn(4, 8), torch.randn(9, 8), torch.zeros(4, dtype=torch.int64))
    assert not total.requires_grad


def test_a_bfloat16_head_gets_a_gradient_that_many_chunks_do_not_spoil(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum over chunks is float32: in bfloat16 small parts would be lost beside a large sum."""
    monkeypatch.setattr(cross_entropy, "ROWS", 2)
    monkeypatch.setattr(cross_entropy, "SLOPE_ELEMENTS", 1)
    generator = torch.Generator().manual_seed(0)
    hidden = (torch.randn(2000, 8, generator=generator) + 2).bfloat16()
    weight = (torch.randn(5, 8, generator=generator) * 0.1).bfloat16().requires_grad_()
    targets = torch.randint(0, 5, (2000,), generator=generator)
    grad = torch.autograd.grad(linear_cross_entropy(hidden, weight, targets)[0], weight)[0]
    assert grad.dtype == torch.bfloat16
    exact = weight.detach().double().requires_grad_()
    F.cross_entropy(hidden.double() @ exact.mT, targets, reduction="sum").backward()
    assert exact.grad is not None
    assert (grad.double() - exact.grad).abs().max() < 0.01 * exact.grad.abs().max()
