"""Random weights: their size, and that of the projections that write into the residual stream."""

from __future__ import annotations

import pytest

from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig


def test_residual_projections_are_scaled_by_depth() -> None:
    """Normal(0, 0.02), output projections by 1 / sqrt(2 layers) (GPT-2, section 2.3): 0.02 / 4 with eight blocks."""
    shape = FamilyConfig(vocab_size=256, hidden_size=64, intermediate_size=128, num_layers=8, num_heads=4,
                        num_kv_heads=4, max_position_embeddings=64)  # fmt: skip
    for name, weight in DecoderLM(shape, seed=3).named_parameters():
        if weight.dim() == 2:
            residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            assert weight.detach().std().item() == pytest.approx(0.005 if residual else 0.02, rel=0.05), name
