"""SOAP against its algorithm written out, in stacks, from its state, and at work."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from tutelage.training.optim.soap import LIMIT, REFRESH_EVERY, SOAP, normalised, refreshed


def written_out(gradients: list[Tensor], lr: float, decay: float, start: Tensor) -> Tensor:
    """Algorithm 3 of the paper with bias correction, one matrix, in float64."""
    w, b = start.double(), 0.9
    m = v = torch.zeros_like(w)
    ll, rr = torch.zeros(2, 2).double(), torch.zeros(3, 3).double()
    ql, qr = torch.zeros_like(ll), torch.zeros_like(rr)
    for t, gradient in enumerate(gradients):
        g = gradient.double()
        if t > 0:
            m, v = b * m + (1 - b) * g, b * v + (1 - b) * (ql.T @ g @ qr) ** 2
            step = (ql.T @ (m / (1 - b**t)) @ qr) / ((v / (1 - b**t)).sqrt() + 1e-8)
            w = (1 - lr * decay) * w - lr * ql @ step @ qr.T
        ll, rr = b * ll + (1 - b) * g @ g.T, b * rr + (1 - b) * g.T @ g
        if t == 0:
            ql, qr = (torch.linalg.eigh(x).eigenvectors.flip(-1) for x in (ll, rr))
        elif t % REFRESH_EVERY == 0:
            for side in ("l", "r"):
                p, q = (ll, ql) if side == "l" else (rr, qr)
                order = torch.diag(q.T @ p @ q).argsort(descending=True)
                q = torch.linalg.qr(p @ q[:, order]).Q
                if side == "l":
                    ql, v = q, v[order]
                else:
                    qr, v = q, v[:, order]
    return w


def gradients(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    stretch = torch.tensor([[3.0, 1.0, 0.2], [0.5, 2.0, 1.0]])
    return [torch.randn(2, 3, generator=generator) * stretch + 0.3 for _ in range(count)]


def test_steps_are_those_of_the_paper() -> None:
    start = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.1, -1.0]])
    weight, still = start.clone().requires_grad_(), torch.ones(2, 2, requires_grad=True)
    optimizer = SOAP([weight, still], lr=0.05, betas=(0.9, 0.9), weight_decay=0.2)
    given = gradients(2 * REFRESH_EVERY + 3)
    for gradient in given:
        weight.grad = gradient.clone()
        optimizer.step()
    assert torch.allclose(weight.double(), written_out(given, 0.05, 0.2, start), atol=2e-4)
    assert torch.equal(still, torch.ones(2, 2))


def test_a_stack_is_its_matrices() -> None:
    stack = torch.ones(2, 2, 3, requires_grad=True)
    single = [torch.ones(2, 3, requires_grad=True) for _ in range(2)]
    optimizers = [SOAP([stack], lr=0.05), *(SOAP([one], lr=0.05) for one in single)]
    for gradient in gradients(REFRESH_EVERY + 2):
        stack.grad = torch.stack([gradient, gradient.flip(1) * 2])
        single[0].grad, single[1].grad = gradient.clone(), gradient.flip(1) * 2
        for optimizer in optimizers:
            optimizer.step()
    assert torch.allclose(stack, torch.stack(single), atol=1e-5)


def test_a_refreshed_basis_is_orthogonal_and_nears_the_eigenvectors() -> None:
    factor = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    product = factor @ torch.diag(torch.tensor([32.0, 16.0, 8.0, 4.0, 2.0, 1.0])) @ factor.T
    basis = torch.eye(6)
    for _ in range(60):
        basis, _ = refreshed(product, basis)
    assert torch.allclose(basis.T @ basis, torch.eye(6), atol=1e-5)
    turned = basis.T @ product @ basis
    assert (turned - torch.diag(turned.diag())).abs().max() < 1e-3 * turned.diag().max()


def test_it_resumes_exactly_from_its_state() -> None:
    weights = [torch.ones(2, 3, requires_grad=True) for _ in range(2)]
    first, second = (SOAP([weight], lr=0.05) for weight in weights)
    for number, gradient in enumerate(gradients(REFRESH_EVERY + 8)):
        if number == 5:
            second.load_state_dict(copy.deepcopy(first.state_dict()))
            weights[1].data.copy_(weights[0].data)
        for weight, optimizer in zip(weights, (first, second), strict=True):
            if optimizer is first or number >= 5:
                weight.grad = gradient.clone()
                optimizer.step()
    assert torch.equal(weights[0], weights[1])


def test_it_beats_adam_where_the_bowl_is_turned() -> None:
    """A quadratic whose axes are not the weights': what the basis is for."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q for _ in range(2))
    scales = torch.logspace(0, 3, 8)
    start = torch.randn(8, 8, generator=generator)

    def after(optimizer_of: type[torch.optim.Optimizer], **more: object) -> float:
        weight = start.clone().requires_grad_()
        optimizer = optimizer_of([weight], lr=0.05, weight_decay=0.0, betas=(0.95, 0.95), **more)  # type: ignore[call-arg]
        for step in range(300):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (1 - step / 300)
            loss = ((left.T @ weight @ right).square() * scales[:, None] * scales).sum()
            weight.grad = torch.autograd.grad(loss, weight)[0]
            optimizer.step()
        return float(loss.detach())

    assert after(SOAP) < 0.1 * after(torch.optim.AdamW)


def stepped(momentum: Tensor, gradient: Tensor, bases: Tensor, lr: float = 0.1) -> Tensor:
    """What one step adds to a zero weight whose state is made by hand: squares zero, both bases `bases`."""
    weight = torch.zeros_like(momentum).requires_grad_()
    optimizer = SOAP([weight], lr=lr, weight_decay=0.0)
    product = gradient @ gradient.T
    optimizer.state[weight] = {
        "step": 200, "exp_avg": momentum.clone(), "exp_avg_sq": torch.zeros_like(momentum), "left": product,
        "left_basis": bases.clone(), "right": product, "right_basis": bases.clone(),
    }  # fmt: skip
    weight.grad = gradient.clone()
    optimizer.step()
    return weight.detach()


def test_rounding_of_the_momentum_is_not_a_direction() -> None:
    """A gradient without off-diagonal elements: their squares are exactly 0, their momentum what rounding left."""
    for scale in (1e-4, 1.0, 1e6):
        gradient = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5])) * scale
        residue = 1e-7 * scale * torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).fill_diagonal_(0)
        moved = stepped(gradient + residue, gradient, torch.eye(4))
        assert moved.diag().abs().min() > 0.1, "the premise: it moves where there is a gradient"
        assert (moved - torch.diag(moved.diag())).abs().max() < 0.1 * moved.diag().abs().max()


def test_no_step_is_larger_than_its_limit() -> None:
    """After a turn of the basis the momentum may point where no squares have been counted yet."""
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        bases = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
        gradient = bases[:, :1] @ bases[:, :1].T * 1e3  # in the basis: one element
        moved = stepped(torch.randn(6, 6, generator=generator) * 1e3, gradient, bases)
        turned = bases.T @ moved @ bases
        assert 0.5 < turned.abs().max() <= 0.1 * LIMIT * (1 + 1e-5)


def test_an_unchanging_gradient_moves_by_the_rate() -> None:
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        left, right = torch.randn(8, 2, generator=generator), torch.randn(2, 8, generator=generator)
        weight = torch.zeros(8, 8, requires_grad=True)
        optimizer = SOAP([weight], lr=0.1, weight_decay=0.0)
        for _ in range(3 * REFRESH_EVERY):
            before = weight.detach().clone()
            weight.grad = (left @ right) * 1e4
            optimizer.step()
            moved = (weight.detach() - before).norm()
            assert moved <= 0.1 * 8, (seed, float(moved))  # sqrt(8 * 8) elements of 1 at most, turned


def test_the_safe_quotient_is_adams_wherever_there_is_a_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    squares = torch.logspace(-9, 0, 24).reshape(4, 6)  # gradients over four and a half orders of magnitude
    momentum = squares.sqrt() * (2 * torch.rand(4, 6, generator=generator) - 1)
    assert torch.equal(normalised(momentum, squares, 1e-8), momentum / (squares.sqrt() + 1e-8))
