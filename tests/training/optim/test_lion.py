"""Lion against its published program, and in the loop."""

from __future__ import annotations

import copy

import torch

from tutelage.training.optim.lion import Lion


def test_steps_are_those_of_the_paper() -> None:
    weight = torch.tensor([[1.0, -2.0], [0.5, 3.0]], requires_grad=True)
    still = torch.ones(2, requires_grad=True)  # never gets a gradient
    optimizer = Lion([weight, still], lr=0.1, betas=(0.9, 0.99), weight_decay=0.2)
    expected, momentum = weight.detach().clone(), torch.zeros(2, 2)
    for number in range(5):
        gradient = torch.tensor([[0.3, -0.1], [2.0, -(number - 2.5)]])
        weight.grad = gradient.clone()
        optimizer.step()
        update = torch.sign(0.9 * momentum + 0.1 * gradient)
        expected = expected - 0.1 * (update + 0.2 * expected)
        momentum = 0.99 * momentum + 0.01 * gradient
        assert torch.allclose(weight, expected, atol=1e-6)
    assert torch.equal(still, torch.ones(2))


def test_it_goes_on_exactly_from_its_state() -> None:
    weights = [torch.full((3, 3), 2.0, requires_grad=True) for _ in range(2)]
    first = Lion([weights[0]], lr=0.01)
    second = Lion([weights[1]], lr=0.01)
    for number in range(6):
        if number == 3:
            second.load_state_dict(copy.deepcopy(first.state_dict()))
            weights[1].data.copy_(weights[0].data)
        for weight, optimizer in zip(weights, (first, second), strict=True):
            if optimizer is first or number >= 3:
                weight.grad = torch.arange(9.0).view(3, 3) - number
                optimizer.step()
    assert torch.equal(weights[0], weights[1])


def test_it_finds_the_bottom_of_a_stretched_bowl() -> None:
    weight = torch.tensor([3.0, -2.0], requires_grad=True)
    optimizer = Lion([weight], lr=0.02, weight_decay=0.0)
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 600)
        (weight.square() * torch.tensor([100.0, 1.0])).sum().backward()
        optimizer.step()
        weight.grad = None
    assert weight.detach().abs().max() < 0.1  # a sign cannot do better than its last steps
