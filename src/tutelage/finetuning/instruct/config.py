"""Settings of instruction finetuning."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tutelage.finetuning.config import FinetuneConfig
from tutelage.training.config import TrainingConfig


class InstructConfig(FinetuneConfig):
    """Supervised finetuning on conversations, with the loss on the answers.

    `max_rows`: maximum number of training rows (0: all). `heldout`: held-out share of the user's file, at most
    `max_heldout` rows. `min_rows`: minimum number of training rows that a task must yield.
    `learn`: tokens with loss: those of every answer, of the last answer only, or all, questions included.
    `neftune_alpha`: noise on the embeddings in training (Jain et al. 2023 use 5 to 15); 0: none.
    `samples`: number of held-out prompts answered after every `sample_every`-th validation, for the log and the report.
    `replay`: tokens of the corpus mixed in per token of the conversations.
    """

    context_length: int = Field(0, ge=0)
    max_rows: int = Field(0, ge=0)
    heldout: float = Field(0.1, gt=0, lt=1)
    max_heldout: int = Field(400, ge=1)
    min_rows: int = Field(8, ge=1)
    learn: Literal["answers", "last", "all"] = "answers"
    neftune_alpha: float = Field(0.0, ge=0)
    samples: int = Field(3, ge=0)
    sample_every: int = Field(1, ge=1)
    replay: float = Field(0.0, ge=0)
    training: TrainingConfig = TrainingConfig(
        epochs=1, batch_rows=8, learning_rate=1e-3, warmup_steps=20, schedule="cosine", final_fraction=0.02
    )

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        self.needs_rows()
        return self

    @model_validator(mode="after")
    def _check_noise(self) -> Self:
        if self.neftune_alpha and self.training.parallel.pipeline > 1:
            raise ValueError(
                "neftune_alpha requires embeddings and loss in one process: set training.parallel.pipeline to 1"
            )
        return self
