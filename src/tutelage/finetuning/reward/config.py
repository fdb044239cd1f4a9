"""Settings of reward modelling."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from tutelage.finetuning.config import FinetuneConfig
from tutelage.training.config import TrainingConfig


class RewardConfig(FinetuneConfig):
    """A score of every answer, learned from pairs of a chosen and a rejected one (Bradley-Terry).

    `centering`: keeps the two rewards of a pair around 0 together (0.01 is usual); accuracy does not need it, but
    rewards of different prompts can then be compared. A column `margin` of the file says by how much the chosen answer
    is the better one. `max_pairs`: so many training pairs at most (0: all). `heldout`: share of the pairs that is held
    out.
    """

    centering: float = Field(0.01, ge=0)
    max_pairs: int = Field(0, ge=0)
    heldout: float = Field(0.15, gt=0, lt=1)
    training: TrainingConfig = TrainingConfig(
        epochs=1, batch_rows=8, learning_rate=1e-4, warmup_steps=8, schedule="linear", weight_decay=0.0
    )

    @model_validator(mode="after")
    def _pairs_are_named(self) -> Self:
        if self.data is None:
            raise ValueError("no pairs to learn from: name a file of pairs (data)")
        if self.task is not None:
            raise ValueError("task has no meaning with method 'reward': its rows are the pairs of the file")
        return self
