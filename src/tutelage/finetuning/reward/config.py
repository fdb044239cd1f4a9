"""Settings of reward modelling."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from tutelage.finetuning.config import FinetuneConfig
from tutelage.training.config import TrainingConfig


class RewardConfig(FinetuneConfig):
    """A score for answers, learned from pairs of a chosen and a rejected one (Bradley-Terry).

    `centering`: weight of a penalty that keeps rewards around 0 (0.01 is usual), which makes rewards of different
    prompts comparable; accuracy does not require it. A column `margin` of the file is the required difference of
    rewards. `max_pairs`: maximum number of training pairs (0: all). `heldout`: held-out share of the pairs.
    """

    centering: float = Field(0.01, ge=0)
    max_pairs: int = Field(0, ge=0)
    heldout: float = Field(0.15, gt=0, lt=1)
    training: TrainingConfig = TrainingConfig(
        epochs=1, batch_rows=8, learning_rate=1e-4, warmup_steps=8, schedule="linear", weight_decay=0.0
    )

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        if self.data is None:
            raise ValueError("no pairs to learn from: name a file of pairs (data)")
        if self.task is not None:
            raise ValueError("task has no effect with method 'reward': its rows are the pairs of the file")
        return self
