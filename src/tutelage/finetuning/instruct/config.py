"""Settings of instruction finetuning."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tutelage.finetuning.config import FinetuneConfig
from tutelage.training.config import TrainingConfig


class InstructConfig(FinetuneConfig):
    """Supervised finetuning on conversations; only the answers are learned.

    `max_rows`: so many at most (0: all). `heldout`: share of an own file that is held out; `max_heldout` at most.
    `min_rows`: what a task must yield for the step to run.
    `learn`: what of a conversation is learned: every answer, the last one alone, or all text, questions included.
    `neftune_alpha`: noise on the embeddings while it trains (Jain et al. 2023 take 5 to 15); 0: none.
    `samples`: so many held-out prompts are answered after every `sample_every`-th validation, for the log and the
    report. `replay`: so many tokens of the corpus are mixed in for each token of the conversations.
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
    def _rows_are_named(self) -> Self:
        self.needs_rows()
        return self

    @model_validator(mode="after")
    def _noise_meets_the_embeddings(self) -> Self:
        if self.neftune_alpha and self.training.parallel.pipeline > 1:
            raise ValueError(
                "neftune_alpha needs the embeddings where the loss is: set training.parallel.pipeline to 1"
            )
        return self
