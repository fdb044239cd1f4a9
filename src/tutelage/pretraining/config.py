"""Settings of pretraining."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from tutelage.store.config import Config
from tutelage.training.config import TrainingConfig


class MixtureSource(Config):
    """Another corpus to sample from: the directory of a corpus artifact, and its weight."""

    corpus: str
    weight: float = Field(gt=0)


class MixConfig(Config):
    """Sampling weights of the sources within the corpus, for training; held-out text is not affected.

    `by`: documents are grouped by `label` (the first-level folder of files) or by `source` (the file). `weights`: a
    factor on the share by size, for each name; 0 leaves it out. `temperature`: 1 samples in proportion to size, more
    favours small sources. `max_epochs`: maximum number of passes over any source.
    """

    by: Literal["label", "source"] = "label"
    weights: dict[str, float] = Field(default_factory=dict)
    temperature: float = Field(1.0, gt=0)
    max_epochs: float = Field(4.0, gt=0)

    @field_validator("weights")
    @classmethod
    def _check_weights(cls, weights: dict[str, float]) -> dict[str, float]:
        if below := [name for name, weight in weights.items() if weight < 0]:
            raise ValueError(f"the weight of {below[0]!r} is negative")
        return weights


class PretrainConfig(Config):
    """Next-token training on packed documents."""

    context_length: int = Field(256, ge=8)
    shard_tokens: int = Field(1 << 26, ge=1)  # tokens of one file of encoded documents
    weight: float = Field(1.0, gt=0)  # of the recipe's corpus, next to those of the mixture
    mixture: tuple[MixtureSource, ...] = ()
    mix: MixConfig | None = None  # of the sources within the corpus; null: every document once per epoch
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

    @model_validator(mode="after")
    def _check_mixture(self) -> Self:
        if self.mix and self.mixture:
            raise ValueError("mix weighs the sources of one corpus, mixture several corpora; set only one of them")
        return self
