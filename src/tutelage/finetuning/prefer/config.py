"""Settings of preference finetuning, and of the pairs that are sampled where the user has none."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tutelage.finetuning.config import FinetuneConfig
from tutelage.store.config import Config
from tutelage.training.config import TrainingConfig


class SamplingConfig(Config):
    """Preference pairs: `samples` answers to each of `prompts` training prompts, ranked by the task's rule."""

    prompts: int = Field(600, ge=2)
    samples: int = Field(4, ge=1)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(40, ge=1)
    chunk: int = Field(64, ge=1)  # prompts sampled between two records of progress


class PairsConfig(SamplingConfig):
    """The stage of its own that samples and ranks."""

    task: str
    heldout: float = Field(0.15, gt=0, lt=1)


class PreferConfig(FinetuneConfig):
    """Direct preference optimisation against the frozen starting model.

    `beta`: how dearly leaving the reference is paid (about 0.1 with summed log-probabilities, about 5 with
    `sigmoid_norm`). `sft_weight`: share of plain likelihood of the chosen answer, which keeps the skill.
    `max_pairs`: so many at most (0: all). `heldout`: share of the pairs that is held out. `pairs`: how pairs are
    sampled where there is no file. `drift_prompts`: how many held-out prompts are answered before and after, to see
    whether length drifts.
    """

    context_length: int = Field(0, ge=0)
    loss: Literal["sigmoid", "sigmoid_norm", "ipo", "hinge"] = "sigmoid"
    beta: float = Field(0.1, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    sft_weight: float = Field(0.5, ge=0)
    max_pairs: int = Field(0, ge=0)
    heldout: float = Field(0.15, gt=0, lt=1)
    pairs: SamplingConfig = SamplingConfig()
    drift_prompts: int = Field(48, ge=0)
    training: TrainingConfig = TrainingConfig(
        epochs=2, batch_rows=8, learning_rate=6e-5, warmup_steps=8, schedule="linear", weight_decay=0.0
    )

    @model_validator(mode="after")
    def _rows_are_named(self) -> Self:
        if self.data is None and self.task is None:
            raise ValueError("no pairs to learn from: name a file of pairs (data), or a task whose rule ranks answers")
        if self.data is None and self.task is not None:
            from tutelage.tasks import task

            if task(self.task).grade is None:
                raise ValueError(f"task {self.task!r} has no rule to rank answers by; give pairs (data)")
        return self

    @model_validator(mode="after")
    def _smoothing_is_honoured(self) -> Self:
        if self.label_smoothing and self.loss not in ("sigmoid", "sigmoid_norm"):
            raise ValueError(f"label_smoothing has no meaning with loss {self.loss!r}")
        return self
