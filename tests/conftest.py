"""Shared fixtures: small models, a byte tokenizer, quiet logs."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

import tutelage  # noqa: F401  before torch, whose threads it sets up

# isort: split
import torch
from hypothesis import settings

from byte_model import byte_tokenizer, random_model
from tutelage.inference.language_model import LanguageModel
from tutelage.model.config import ModelConfig
from tutelage.model.families import FamilyConfig
from tutelage.store.device import bfloat16_works
from tutelage.store.events import EventLog
from tutelage.tokenizer.tokenizer import Tokenizer

# The same examples in every run, however slow the machine; `HYPOTHESIS_PROFILE=search` draws others.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_collection_finish() -> None:
    """What pytest keeps of eight thousand tests is not looked through again whenever a stage frees its memory."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def bfloat16() -> str:
    """The name of that precision, for tests of long rows; they cannot be run where torch refuses it."""
    if not bfloat16_works("cpu"):
        pytest.skip("torch refuses attention in bfloat16 with this ATEN_CPU_CAPABILITY on this processor")
    return "bfloat16"


@pytest.fixture
def tiny() -> ModelConfig:
    """A decoder of a few thousand parameters."""
    return FamilyConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_layers=2, num_heads=4, num_kv_heads=2,
        max_position_embeddings=64,
    )  # fmt: skip


@pytest.fixture
def log() -> EventLog:
    return EventLog()


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return byte_tokenizer()


@pytest.fixture(scope="session")
def lm(tokenizer: Tokenizer) -> LanguageModel:
    """A few thousand random weights on the byte tokenizer: every text can be read and written."""
    return LanguageModel(random_model(tokenizer), tokenizer)


# Files of few and long tests: begun last they would run alone at the end, while the other processes wait.
LONG = ("faults/", "e2e/", "training/distributed/", "recipe/", "report/", "cli/test_life", "finetuning/reinforce/",
        "serving/test_crowd", "serving/test_page", "guidance/", "cli/")  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        return next((at for at, name in enumerate(LONG) if path.startswith(name)), len(LONG))

    items.sort(key=place)
