"""The defaults carried over meet the defaults where they were measured, and the rules of thumb elsewhere."""

from __future__ import annotations

import pytest

from tutelage.model.describe import parameters
from tutelage.model.families import FamilyConfig
from tutelage.pretraining.config import PretrainConfig
from tutelage.pretraining.sizing import (
    BATCH,
    PARAMETERS,
    TOKENS,
    WIDTHS,
    batch_tokens,
    embedding_rate,
    learning_rate,
    model_of,
    shape_of,
    warmup_steps,
)


def test_at_its_own_size_everything_is_the_default() -> None:
    default, training = FamilyConfig(), PretrainConfig().training
    assert shape_of(128) == {key: getattr(default, key) for key in shape_of(128)}
    assert learning_rate(PARAMETERS) == training.learning_rate and embedding_rate(False) == training.embedding_rate
    assert batch_tokens(TOKENS) == BATCH == training.batch_rows * PretrainConfig().context_length
    assert warmup_steps(PARAMETERS, 1e9, 2000) == training.warmup_steps


@pytest.mark.parametrize("width", WIDTHS)
def test_every_width_is_a_model_within_the_rules(width: int) -> None:
    shape = FamilyConfig(**model_of(width, 2048), vocab_size=2048)
    assert 16 <= shape.hidden_size / shape.num_layers <= 128
    assert shape.num_heads < 8 or shape.num_kv_heads < shape.num_heads
    assert shape.tie_word_embeddings == (width >= 384)  # from 10M parameters on
    assert sum(parameters(shape.with_(tie_word_embeddings=False)).values()) >= 10e6 or not shape.tie_word_embeddings


def test_larger_models_learn_slower_and_longer_runs_have_larger_batches() -> None:
    assert learning_rate(8 * PARAMETERS) == pytest.approx(learning_rate(PARAMETERS) / 2)
    assert learning_rate(PARAMETERS / 8) == learning_rate(PARAMETERS)
    assert batch_tokens(10 * TOKENS) == pytest.approx(BATCH * 10**0.383)
    assert warmup_steps(1e6, 2000, 10_000) == 500 and warmup_steps(1e8, 2000, 1000) == 100
