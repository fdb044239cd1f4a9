"""Schedule-free AdamW against its recursion written out, and the weights that are evaluated."""

from __future__ import annotations

import copy

import torch

from tutelage.training.optim.schedule_free import ScheduleFreeAdamW, averaged, keep_average


def test_steps_are_those_of_the_paper() -> None:
    y = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    still = torch.ones(2, requires_grad=True)
    optimizer = ScheduleFreeAdamW([y, still], lr=0.1, betas=(0.9, 0.95), weight_decay=0.2)
    z = x = y.detach().double().clone()
    v = torch.zeros(3).double()
    total, largest = 0.0, 0.0
    for t in range(1, 9):
        rate = 0.1 * min(1.0, t / 4)  # warmup
        expected_y = 0.1 * z + 0.9 * x
        assert torch.allclose(y.double(), expected_y, atol=1e-6)
        g = torch.tensor([0.5, -t / 3, 2.0 - t]).double()
        v = 0.95 * v + 0.05 * g * g
        z = z - rate * (g / ((v / (1 - 0.95**t)).sqrt() + 1e-8) + 0.2 * expected_y)
        largest = max(largest, rate)
        total += largest**2
        x = (1 - largest**2 / total) * x + largest**2 / total * z
        y.grad = g.float()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    before = y.detach().clone()
    with averaged([optimizer]):
        assert torch.allclose(y.double(), x, atol=1e-5)
    assert torch.equal(y, before)  # to the bit, or a run that validates would be another run
    keep_average([optimizer])
    assert torch.allclose(y.double(), x, atol=1e-5)
    assert torch.equal(still, torch.ones(2))


def test_it_goes_on_exactly_from_its_state() -> None:
    weights = [torch.full((3,), 2.0, requires_grad=True) for _ in range(2)]
    first, second = (ScheduleFreeAdamW([weight], lr=0.01) for weight in weights)
    for number in range(8):
        if number == 4:
            second.load_state_dict(copy.deepcopy(first.state_dict()))
            weights[1].data.copy_(weights[0].data)
        for weight, optimizer in zip(weights, (first, second), strict=True):
            if optimizer is first or number >= 4:
                weight.grad = torch.arange(3.0) - number
                optimizer.step()
    assert torch.equal(weights[0], weights[1])


def test_the_average_is_nearer_to_the_bottom_than_what_is_stepped() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.tensor([3.0, -2.0], requires_grad=True)
    optimizer = ScheduleFreeAdamW([weight], lr=0.05, weight_decay=0.0)
    for _ in range(1500):
        weight.grad = 2 * weight.detach() * torch.tensor([10.0, 1.0]) + torch.randn(2, generator=generator)
        optimizer.step()
    z = optimizer.state[weight]["z"].abs().max()
    with averaged([optimizer]):
        assert weight.detach().abs().max() < 0.5 * z
        assert weight.detach().abs().max() < 0.05
