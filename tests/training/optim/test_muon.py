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
