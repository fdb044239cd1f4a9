"""Settings of classification finetuning; the defaults suit a decoder of 2 to 4 million parameters on two cores."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from tutelage.finetuning.config import FinetuneConfig
from tutelage.model.config import Pooling, check_pooling
from tutelage.store.errors import nearest
from tutelage.training.config import TrainingConfig

DEPTHS = (1 / 2, 2 / 3, 5 / 6, 1.0)  # of the layers that a frozen head chooses from; the middle ones often say most
CHOSEN_ON = 2000  # rows that it chooses its layer and penalty on


class HeadConfig(FinetuneConfig):
    """What the head reads of a text: `pooling` the state at its last token (`last`), the mean over all of its tokens,
    frame included (`mean`), or over its last `pool_tokens` (`last_k`). Default: as the classifier that the step begins
    with, else `last`."""

    pooling: Pooling | None = None
    pool_tokens: int = Field(0, ge=0)

    @field_validator("pooling", mode="before")
    @classmethod
    def _reads_no_padding(cls, given: Any) -> Any:
        if isinstance(given, str) and given not in get_args(Pooling):
            raise ValueError(
                f"there is no pooling {given!r}: {nearest(given, get_args(Pooling))}. `last` is the last real token of "
                "a text; padding is never read"
            )
        return given

    @model_validator(mode="after")
    def _pooling_is_whole(self) -> Self:
        check_pooling(self.pooling, self.pool_tokens)
        return self


class ClassifyConfig(HeadConfig):
    """Classification by a head on a state of the model.

    A label needs `min_per_label` training texts and one held-out text; of each at most `max_per_label` are trained on
    (0: all). `class_weights`: `balanced` weighs each label by how rare it then is; `none` keeps the natural prior.
    `focal`: texts that are learned already count less (2 is usual, 0 is plain cross entropy). `frame`: words around
    each text, e.g. `'"{text}" is about'`, so that what follows sums it up (Jiang et al. 2023); a step that begins with
    a classifier keeps its frame. `max_tokens`: a text with its frame is read only this far, in training and after.
    `ordinal`: the labels are numbers, or stand in `labels` in their order, and being far off is worse than being near;
    what is named is the median label.
    `heldout`: share of an own file that is held out.
    `share`: train only on this share of each label's rows, at least one; the held-out rows stay the same.
    `frozen`: leave the model as it is and only fit the head, by logistic regression on the states of the layer that
    tells the labels apart best; the layers above it are left out. Of `training` only device, precision and threads act.
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
    def _rows_are_named(self) -> Self:
        self.needs_rows()
        if self.labels and (not self.ordinal or len(set(self.labels)) < len(self.labels)):
            raise ValueError("labels is the order of ordinal labels: each once, with ordinal: true")
        if self.ordinal and self.focal:
            raise ValueError("ordinal has a loss of its own, so focal must be 0")
        if self.frozen and self.focal:
            raise ValueError("frozen fits the head by likelihood, so focal must be 0")
        if self.frozen and self.lora:
            raise ValueError("frozen trains nothing of the model, so lora must not be given")
        return self
