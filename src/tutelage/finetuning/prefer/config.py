"""Settings of preference finetuning, and of sampling pairs when the user has none."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tutelage.finetuning.config import FinetuneConfig
from tutelage.finetuning.prefer.defaults import KNOWN, JudgedLoss, PairLoss, settings_of, unsupported
from tutelage.store.config import Config
from tutelage.store.errors import nearest
from tutelage.training.config import TrainingConfig


class SamplingConfig(Config):
    """Sampling of preference pairs: `samples` answers to each of `prompts` training prompts, ranked by the task's rule.

    `reward`: directory of a reward model that ranks the answers instead, the reference answer included.
    """

    prompts: int = Field(600, ge=2)
    samples: int = Field(4, ge=1)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(40, ge=1)
    reward: str | None = None
    chunk: int = Field(64, ge=1)  # prompts sampled between two progress events


class PairsConfig(SamplingConfig):
    """The settings of the stage that samples and ranks pairs; `heldout`: share of the pairs that is held out."""

    task: str
    heldout: float = Field(0.15, gt=0, lt=1)


class PreferConfig(FinetuneConfig):
    """Learning from preferences: pairs of a chosen and a rejected answer, or answers judged good or bad one by one.

    `loss`: see `prefer/losses.py`. The defaults of these depend on it (`prefer/defaults.py`): `beta` (strength of the
    penalty for moving away from the reference, or scale of the reward), `label_smoothing` (expected share of wrong
    labels), `sft_weight` (weight of the chosen answer's negative log-likelihood, which preserves what the model can
    do), `gamma_beta_ratio` (SimPO's target margin as a multiple of beta). `desirable_weight`, `undesirable_weight`:
    loss weights of judged answers. `max_pairs`: maximum number of training rows (0: all). `heldout`: share of the rows
    that is held out. `pairs`: how pairs are sampled without a file. `drift_prompts`: number of held-out prompts
    answered before and after, to detect length drift.
    """

    context_length: int = Field(0, ge=0)
    loss: Literal[PairLoss, JudgedLoss] = "sigmoid"
    beta: float = Field(0.1, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    sft_weight: float = Field(0.5, ge=0)
    gamma_beta_ratio: float = Field(0.0, ge=0)
    desirable_weight: float = Field(1.0, gt=0)
    undesirable_weight: float = Field(1.0, gt=0)
    max_pairs: int = Field(0, ge=0)
    heldout: float = Field(0.15, gt=0, lt=1)
    pairs: SamplingConfig = SamplingConfig()
    drift_prompts: int = Field(48, ge=0)
    training: TrainingConfig = TrainingConfig(
        epochs=2, batch_rows=8, learning_rate=6e-5, warmup_steps=8, schedule="linear", weight_decay=0.0
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_loss_defaults(cls, given: Any) -> Any:
        loss = given.get("loss", "sigmoid") if isinstance(given, dict) else None
        if isinstance(loss, str) and loss not in KNOWN:
            raise ValueError(f"there is no loss {loss!r}: {nearest(loss, KNOWN)}")
        return {**settings_of(loss), **given} if isinstance(loss, str) and loss in KNOWN else given

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        if self.data is None and self.task is None:
            raise ValueError("no pairs to learn from: name a file of pairs (data), or a task whose rule ranks answers")
        if self.data is not None and self.pairs.reward is not None:
            raise ValueError("pairs.reward ranks sampled answers; with a file of pairs (data) none are sampled")
        if self.data is None and self.task is not None and self.pairs.reward is None:
            from tutelage.tasks import task

            if task(self.task).grade is None:
                raise ValueError(
                    f"task {self.task!r} has no rule to rank answers by; give pairs (data), or pairs.reward (a model)"
                )
        return self

    @model_validator(mode="after")
    def _check_loss_settings(self) -> Self:
        if message := unsupported(self.loss, self.plain()):
            raise ValueError(message)
        if not self.beta and self.loss != "sft":
            raise ValueError("beta must be above 0")
        if self.loss == "exo_pair" and not self.label_smoothing:
            raise ValueError("loss 'exo_pair' needs a label_smoothing above 0 (its paper: 0.001)")
        return self

    @model_validator(mode="after")
    def _check_batches(self) -> Self:
        training = self.training
        if KNOWN[self.loss].whole_batch and (training.accumulation > 1 or training.tune):
            raise ValueError(
                f"loss {self.loss!r} sorts all pairs of a batch, and microbatches would be sorted separately: "
                "training.accumulation must be 1 and training.tune off"
            )
        if self.loss == "kto" and training.batch_rows < 2:
            raise ValueError(
                "loss 'kto' estimates its reference point from a batch: training.batch_rows must be 2 or more"
            )
        if self.loss == "kto" and training.parallel.pipeline > 1:
            raise ValueError("loss 'kto' runs the whole model before each step: training.parallel.pipeline must be 1")
        return self
