"""Settings of pretraining."""

from __future__ import annotations

from pydantic import Field

from tutelage.store.config import Config
from tutelage.training.config import TrainingConfig


class PretrainConfig(Config):
    """Next-token training on packed documents."""

    context_length: int = Field(256, ge=8)
    training: TrainingConfig = TrainingConfig(
        steps=1700,
        batch_rows=6,
        optimizer="muon",
        learning_rate=6e-3,
        embedding_rate=6.0,
        schedule="linear",
        warmup_steps=30,
        final_fraction=0.02,
        validate_every=200,
        spike_sigma=6.0,
    )
