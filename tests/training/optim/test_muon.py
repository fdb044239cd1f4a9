"""Muon against torch's own and against the definition."""

from __future__ import annotations

import torch

from tutelage.training.optim.muon import Muon, orthogonalise


def test_singular_values_come_near_one() -> None:
    matrices = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0))
    for shaped in (matrices, matrices.mT):
        values = torch.linalg.svdvals(orthogonalise(shaped))
        assert values.min() > 0.5 and values.max() < 1.3
        u, _, v = torch.linalg.svd(shaped, full_matrices=False)
        assert torch.nn.functional.cosine_similarity(orthogonalise(shaped).flatten(1), (u @ v).flatten(1)).min() > 0.95


def test_steps_equal_torchs_muon_up_to_its_bfloat16() -> None:
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(16, 48, generator=generator)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    mine = Muon([ours], lr=0.02, weight_decay=0.1)
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        gradient = torch.randn(16, 48, generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        reference.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved


def test_matrices_of_one_shape_and_of_its_transpose_go_together_as_each_alone() -> None:
    generator = torch.Generator().manual_seed(2)
    starts = [torch.randn(shape, generator=generator) for shape in ((8, 20), (20, 8), (8, 20), (3, 20, 8), (6, 6))]
    gradients = [torch.randn(start.shape, generator=generator) for start in starts]

    def moved(which: list[int]) -> list[torch.Tensor]:
        parameters = [torch.nn.Parameter(starts[one].clone()) for one in which]
        optimizer = Muon(parameters, lr=0.02)
        for _ in range(2):
            for parameter, one in zip(parameters, which, strict=True):
                parameter.grad = gradients[one].clone()
            optimizer.step()
        return [parameter.detach() for parameter in parameters]

    together = moved([0, 1, 2, 3, 4])
    for one, found in enumerate(together):
        torch.testing.assert_close(found, moved([one])[0], rtol=1e-5, atol=1e-6)
        assert not torch.equal(found, starts[one])
