"""Settings of continued pretraining, and of what is sampled from the model before it."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from tutelage.finetuning.config import FinetuneConfig
from tutelage.store.config import Config
from tutelage.tokenizer.extend import MIN_COUNT
from tutelage.training.config import TrainingConfig


class SamplingConfig(Config):
    """What the model writes by itself at temperature 1 before it is trained: the text of which it is the model.

    `tokens`: of documents to replay. `heldout_tokens`: of documents by which it is measured what was forgotten. Of a
    model that chats, also conversations of which it writes both sides: `chats` to replay, and `questions` that it is
    asked before and after. `max_tokens`: of a document; `answer_tokens`: of an answer.
    """

    tokens: int = Field(16_000, ge=0)
    heldout_tokens: int = Field(6_000, ge=0)
    chats: int = Field(48, ge=0)
    questions: int = Field(40, ge=0)
    max_tokens: int = Field(256, ge=16)
    prompt_tokens: int = Field(48, ge=4)
    answer_tokens: int = Field(96, ge=4)
    chunk: int = Field(32, ge=1)  # documents or conversations sampled between two records of progress


class ReplayConfig(Config):
    """What of the old is read again among the new. `share`: of all tokens that are trained on.

    `source`: a folder or file of general text. Without one it is what the model itself writes (`sampled`).
    """

    share: float = Field(0.2, ge=0, lt=1)
    source: str | None = None


class FurtherConfig(FinetuneConfig):
    """Next-token training of a model that is there on more text.

    `data`: a folder or file of text; without it the recipe's corpus is read. `heldout`: share of the documents that is
    held out; so many as `max_heldout` are measured on. `prose`: keep sentences of English prose only. `general`: a
    folder or file of general text that is only measured on. `extend_vocabulary`: so many tokens at most are added,
    learned on the text, each of which stands in it `min_count` times.
    """

    replay: ReplayConfig = ReplayConfig()
    sampled: SamplingConfig = SamplingConfig()
    general: str | None = None
    heldout: float = Field(0.1, gt=0, lt=1)
    max_heldout: int = Field(150, ge=1)
    prose: bool = False
    extend_vocabulary: int = Field(0, ge=0)
    min_count: int = Field(MIN_COUNT, ge=2)
    context_length: int = Field(512, ge=16)
    training: TrainingConfig = TrainingConfig(
        epochs=1, batch_rows=8, learning_rate=2e-4, schedule="cosine", warmup_steps=10, final_fraction=0.1
    )

    @model_validator(mode="after")
    def _reads_text(self) -> Self:
        if self.task is not None:
            raise ValueError("continued pretraining reads text, not the rows of a task; leave out task")
        if self.columns:
            raise ValueError("continued pretraining reads whole documents; leave out columns")
        return self

    @model_validator(mode="after")
    def _new_tokens_are_trained(self) -> Self:
        if self.extend_vocabulary and (self.lora or self.training.freeze_blocks):
            raise ValueError(
                "extend_vocabulary adds rows to the embedding, which must be trained: leave out lora and freeze_blocks"
            )
        return self

    @model_validator(mode="after")
    def _something_to_replay(self) -> Self:
        own = self.replay.source is None
        if self.replay.share and own and not (self.sampled.tokens or self.sampled.chats):
            raise ValueError("there is nothing to replay: name replay.source, raise sampled.tokens, or set share to 0")
        return self
