"""The memory estimate against what autograd really keeps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.training.blocks import prepared
from tutelage.training.config import TrainingConfig
from tutelage.training.memory import STATE, activation_values, probability_values, training_bytes
from tutelage.training.optim.optimizers import make_optimizers

SMALL = FamilyConfig(
    vocab_size=100, hidden_size=16, intermediate_size=40, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8,
    tie_word_embeddings=True,
)  # fmt: skip


@settings(max_examples=30)
@given(st.integers(1, 64), st.integers(8, 2048))
def test_memory_grows_with_the_batch_and_muon_takes_less(rows: int, context: int) -> None:
    assert training_bytes(SMALL, rows + 1, context) > training_bytes(SMALL, rows, context)
    assert training_bytes(SMALL, rows, context, "muon") < training_bytes(SMALL, rows, context, "adamw")
    assert training_bytes(SMALL, rows, context) > 16 * 8624
    without = training_bytes(SMALL, rows, context, activation_checkpointing=True)
    assert without < training_bytes(SMALL, rows, context)


def kept(model: DecoderLM, tokens: Tensor, checkpointing: bool) -> int:
    """Bytes that are kept for the backward pass, each storage once, weights not counted."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with prepared(model, TrainingConfig(activation_checkpointing=checkpointing)):
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            hidden = model.train().hidden(tokens)
        assert hidden.requires_grad
    return sum(storages.values())


@pytest.mark.parametrize(
    "shape",
    [
        {"hidden_size": 64, "intermediate_size": 176, "num_heads": 4, "num_kv_heads": 2, "num_layers": 4},
        {"hidden_size": 96, "intermediate_size": 384, "num_heads": 6, "num_kv_heads": 6, "num_layers": 3},
    ],
)
def test_activations_are_those_that_are_kept(shape: dict[str, int]) -> None:
    config = FamilyConfig.parse({**shape, "vocab_size": 128, "max_position_embeddings": 128})
    model, tokens = DecoderLM(config), torch.randint(0, 128, (4, 128))
    estimate = 4 * tokens.numel() * config.num_layers * activation_values(config)
    real = kept(model, tokens, checkpointing=False)
    assert 0.75 < estimate / real < 1.33
    assert kept(model, tokens, checkpointing=True) < 0.25 * real


def test_probabilities_are_those_that_are_kept() -> None:
    """Causal rows of two blocks, against one block whose float32 attention keeps none."""
    config = FamilyConfig.parse({"hidden_size": 32, "num_heads": 4, "num_kv_heads": 2, "num_layers": 2,
                                 "vocab_size": 128, "max_position_embeddings": 256})  # fmt: skip
    model = DecoderLM(config)
    one, two = (kept(model, torch.randint(0, 128, (4, length)), checkpointing=False) for length in (128, 256))
    said = 4 * 4 * 256 * config.num_layers * probability_values(config, 256)
    assert two - 2 * one == pytest.approx(said, rel=0.1)


@pytest.mark.parametrize("optimizer", sorted(STATE))
def test_optimizer_state_is_as_large_as_said(optimizer: str) -> None:
    model = DecoderLM(SMALL)
    config = TrainingConfig.parse({"optimizer": optimizer, "schedule": "constant"})
    optimizers = make_optimizers(model, config)
    model(torch.arange(20)[None]).sum().backward()
    for one in optimizers:
        one.step()
    values = sum(
        value.numel() for one in optimizers for state in one.state.values() for value in state.values()
        if isinstance(value, Tensor)
    )  # fmt: skip
    bare = training_bytes(SMALL, 0, 0) // 4 - 2 * model.num_parameters()
    said = training_bytes(SMALL, 0, 0, optimizer) // 4 - training_bytes(SMALL, 0, 0) // 4 + 2 * model.num_parameters()
    assert bare > 0
    assert said == pytest.approx(values, rel=0.05)
