"""Blocks run another way compute the same, and are as before afterwards."""

from __future__ import annotations

import shutil

import pytest
import torch

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.training.blocks import prepared
from tutelage.training.config import TrainingConfig

TOKENS = torch.arange(48).reshape(2, 24) % 60


def gradients(model: DecoderLM, config: TrainingConfig) -> list[torch.Tensor]:
    model.zero_grad()
    with prepared(model.train(), config):
        model(TOKENS).square().mean().backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def test_activation_checkpointing_changes_no_bit(tiny: ModelConfig) -> None:
    model = DecoderLM(tiny)
    names = [name for name, _ in model.named_parameters()]
    plain, twice = gradients(model, TrainingConfig()), gradients(model, TrainingConfig(activation_checkpointing=True))
    assert all(torch.equal(one, other) for one, other in zip(plain, twice, strict=True))
    assert [name for name, _ in model.named_parameters()] == names
    assert not any("forward" in block.__dict__ for block in model.layers)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs a C++ compiler")
def test_compiled_blocks_compute_the_same(tiny: ModelConfig) -> None:
    model = DecoderLM(tiny)
    plain, compiled = gradients(model, TrainingConfig()), gradients(model, TrainingConfig(compile=True))
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(plain, compiled, strict=True))
    assert all(block._compiled_call_impl is None for block in model.layers)
