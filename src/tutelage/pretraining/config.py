"""Settings of pretraining."""

from __future__ import annotations

from pydantic import Field

from tutelage.store.config import Config
from tutelage.training.config import TrainingConfig


class MixtureSource(Config):
    """Another corpus to draw from: the directory of a corpus artifact, and how much against the others."""

    corpus: str
    weight: float = Field(gt=0)


class PretrainConfig(Config):
    """Next-token training on packed documents."""

    context_length: int = Field(256, ge=8)
    shard_tokens: int = Field(1 << 26, ge=1)  # tokens of one file of encoded documents
    weight: float = Field(1.0, gt=0)  # of the recipe's corpus, beside those of the mixture
    mixture: tuple[MixtureSource, ...] = ()
    training: TrainingConfig = TrainingConfig(
        steps=1500,
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
