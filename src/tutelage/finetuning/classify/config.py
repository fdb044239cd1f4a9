"""Settings of classification finetuning; the defaults suit a decoder of 2 to 4 million parameters on two cores."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from tutelage.finetuning.config import FinetuneConfig
from tutelage.model.config import Pooling, check_pooling
from tutelage.store.errors import nearest
from tutelage.training.config import TrainingConfig

DEPTHS = (1 / 2, 2 / 3, 5 / 6, 1.0)  # candidate depths for a frozen head; middle layers are often best
CHOSEN_ON = 2000  # rows for choosing layer and penalty


class HeadConfig(FinetuneConfig):
    """The head's input: `pooling` is the state at the last token (`last`), the mean over all tokens, frame included
    (`mean`), or over the last `pool_tokens` (`last_k`). Default: as in the parent, if it is a classifier, else
    `last`."""

    pooling: Pooling | None = None
    pool_tokens: int = Field(0, ge=0)

    @field_validator("pooling", mode="before")
    @classmethod
    def _check_pooling_name(cls, given: Any) -> Any:
        if isinstance(given, str) and given not in get_args(Pooling):
            raise ValueError(
                f"unknown pooling {given!r}: {nearest(given, get_args(Pooling))}. `last` is the last real token of "
                "a text; padding is never read"
            )
        return given

    @model_validator(mode="after")
    def _check_pooling(self) -> Self:
        check_pooling(self.pooling, self.pool_tokens)
        return self


class ClassifyConfig(HeadConfig):
    """Classification by a head on a hidden state of the model.

    A label requires `min_per_label` training texts and one held-out text; at most `max_per_label` per label are used
    for training (0: all). `class_weights`: `balanced` weights labels by inverse frequency; `none` keeps the natural
    prior. `focal`: focal loss gamma, which down-weights easy texts (2 is usual, 0 is plain cross entropy). `frame`: a
    prompt around each text, e.g. `'"{text}" is about'`, so that the next token summarises it (Jiang et al. 2023); a
    step whose parent is a classifier keeps its frame. `max_tokens`: a text with its frame is truncated to this length,
    in training and later. `ordinal`: the labels are numbers, or listed in order in `labels`, and distant errors cost
    more; the prediction is the median label. `heldout`: held-out share of the user's file. `share`: train on this share
    of each label's rows, at least one; the held-out rows are unchanged. `frozen`: do not train the model, only fit a
    head by logistic regression on the states of the most discriminative layer; layers above it are removed. Only
    device, precision and threads of `training` apply.
    """

    learns: ClassVar[Literal["labels", "answers"]] = "labels"

    max_tokens: int = Field(64, ge=4)
    min_per_label: int = Field(1, ge=1)
    min_heldout: int = Field(1, ge=1)
    max_per_label: int = Field(0, ge=0)
    max_heldout: int = Field(1000, ge=1)
    heldout: float = Field(0.2, gt=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    focal: float = Field(0.0, ge=0, le=10)
    share: float = Field(1.0, gt=0, le=1)
    frozen: bool = False
    ordinal: bool = False
    labels: tuple[str, ...] = ()
    frame: str = ""
    training: TrainingConfig = TrainingConfig(
        epochs=2, batch_rows=8, optimizer="muon", learning_rate=5e-3, embedding_rate=3.0, warmup_steps=10,
        schedule="cosine", final_fraction=0.02,
    )  # fmt: skip

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        self.needs_rows()
        if self.labels and (not self.ordinal or len(set(self.labels)) < len(self.labels)):
            raise ValueError("labels lists the ordinal labels in order, each once, and requires ordinal: true")
        if self.ordinal and self.focal:
            raise ValueError("ordinal uses its own loss: set focal to 0")
        if self.frozen and self.focal:
            raise ValueError("frozen fits the head by likelihood: set focal to 0")
        if self.frozen and self.lora:
            raise ValueError("frozen does not train the model: remove lora")
        return self
