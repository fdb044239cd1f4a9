"""Settings of the finetuning stages; the defaults suit a decoder of 2 to 4 million parameters on two cores."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tutelage.model.lora_config import LoraConfig
from tutelage.store.config import Config
from tutelage.training.config import TrainingConfig


class _Finetuning(Config):
    """What every finetuning stage has: how it trains, how long its texts may be, whose data it takes.

    `data`: the user's own file instead of what the corpus has. `context_length`: no text is longer than this many
    tokens. `lora`: train low-rank adapters (and a classification head) and leave the weights as they are.
    """

    context_length: int = Field(256, ge=16)
    data: str | None = None
    lora: LoraConfig | None = None
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _adapters_are_trained_alone(self) -> Self:
        if self.lora and self.training.freeze_blocks:
            raise ValueError("lora already freezes every block, so training.freeze_blocks must be 0; see lora.layers")
        if self.lora and self.training.optimizer != "adamw":
            raise ValueError("lora is trained with training.optimizer 'adamw'; muon is for whole weight matrices")
        return self


class ClassifyConfig(_Finetuning):
    """Classification by a head on the last token.

    A label needs `min_per_label` training documents and `min_heldout` held-out ones; of each at most
    `max_per_label` are trained on. `class_weights`: `balanced` weighs each label by how rare it then is.
    `max_tokens`: a text is read only this far, in training and after.
    """

    max_tokens: int = Field(64, ge=4)
    min_per_label: int = Field(40, ge=1)
    min_heldout: int = Field(5, ge=1)
    max_per_label: int = Field(400, ge=1)
    max_heldout: int = Field(1000, ge=1)
    class_weights: Literal["none", "balanced"] = "none"
    training: TrainingConfig = TrainingConfig(
        epochs=2, batch_rows=8, optimizer="muon", learning_rate=5e-3, embedding_rate=3.0, warmup_steps=10,
        schedule="cosine", final_fraction=0.02,
    )  # fmt: skip


class InstructConfig(_Finetuning):
    """Supervised finetuning on question and answer; only the answer is learned.

    `replay`: so many tokens of pretraining text are mixed in for each token of the pairs.
    """

    max_pairs: int = Field(12000, ge=1)
    max_heldout: int = Field(400, ge=1)
    min_pairs: int = Field(50, ge=1)
    replay: float = Field(0.0, ge=0)
    training: TrainingConfig = TrainingConfig(
        epochs=1, batch_rows=8, learning_rate=1e-3, warmup_steps=20, schedule="cosine", final_fraction=0.02
    )


class PairsConfig(Config):
    """Preference pairs: `samples` answers to each of `prompts` training prompts, ranked by a stated rule."""

    prompts: int = Field(600, ge=2)
    heldout: float = Field(0.15, gt=0, lt=1)  # share of the prompts kept for measuring
    samples: int = Field(4, ge=1)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(40, ge=1)
    chunk: int = Field(64, ge=1)  # prompts sampled between two records of progress


class PreferConfig(_Finetuning):
    """Direct preference optimisation against the frozen instructed model.

    `beta`: how dearly leaving the reference is paid (about 0.1 with summed log-probabilities, about 5 with
    `sigmoid_norm`). `sft_weight`: share of plain likelihood of the chosen answer, which keeps the skill.
    `drift_prompts`: how many held-out prompts are answered before and after to see whether length drifts.
    """

    loss: Literal["sigmoid", "sigmoid_norm", "ipo", "hinge"] = "sigmoid"
    beta: float = Field(0.1, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    sft_weight: float = Field(0.5, ge=0)
    drift_prompts: int = Field(48, ge=0)
    training: TrainingConfig = TrainingConfig(
        epochs=2, batch_rows=8, learning_rate=6e-5, warmup_steps=8, schedule="linear", weight_decay=0.0
    )

    @model_validator(mode="after")
    def _smoothing_is_honoured(self) -> Self:
        if self.label_smoothing and self.loss not in ("sigmoid", "sigmoid_norm"):
            raise ValueError(f"label_smoothing has no meaning with loss {self.loss!r}")
        return self


class FinetuneConfig(Config):
    """All finetuning of a life; a method that is null is not wanted."""

    classify: ClassifyConfig | None = ClassifyConfig()
    instruct: InstructConfig | None = InstructConfig()
    pairs: PairsConfig = PairsConfig()
    prefer: PreferConfig | None = PreferConfig()
