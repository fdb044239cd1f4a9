"""Shared fixtures: small models and quiet logs."""

from __future__ import annotations

import pytest
import torch

from tutelage.model.config import ModelConfig
from tutelage.store.events import EventLog


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tiny() -> ModelConfig:
    """A decoder of a few thousand parameters."""
    return ModelConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_layers=2, num_heads=4, num_kv_heads=2,
        max_position_embeddings=64,
    )  # fmt: skip


@pytest.fixture
def log() -> EventLog:
    return EventLog()
