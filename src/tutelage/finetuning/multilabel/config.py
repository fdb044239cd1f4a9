"""Settings of multi-label classification."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from tutelage.finetuning.classify.config import HeadConfig
from tutelage.training.config import TrainingConfig


class MultilabelConfig(HeadConfig):
    """A head with an independent probability for each label.

    A label requires `min_per_label` training texts and one held-out text. `frame`, `max_tokens`, `heldout` and `frozen`
    are those of classification (`ClassifyConfig`).
    """

    max_tokens: int = Field(64, ge=4)
    min_per_label: int = Field(2, ge=1)
    max_heldout: int = Field(1000, ge=1)
    heldout: float = Field(0.2, gt=0, lt=1)
    frozen: bool = False
    frame: str = ""
    training: TrainingConfig = TrainingConfig(
        epochs=4, batch_rows=8, optimizer="muon", learning_rate=5e-3, embedding_rate=3.0, warmup_steps=10,
        schedule="cosine", final_fraction=0.02,
    )  # fmt: skip

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        if self.data is None:
            raise ValueError("no rows to learn from: name a file (data)")
        if self.task is not None:
            raise ValueError("no task has texts with several labels: remove task")
        if self.frozen and self.lora:
            raise ValueError("frozen does not train the model: remove lora")
        return self
