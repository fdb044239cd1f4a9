"""Settings of continued pretraining, and of sampling from the initial model."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from tutelage.finetuning.config import FinetuneConfig
from tutelage.store.config import Config
from tutelage.tokenizer.extend import MIN_COUNT
from tutelage.training.config import TrainingConfig


class SamplingConfig(Config):
    """Text sampled from the model at temperature 1 before training: a sample of what it has learned.

    `tokens`: of documents to replay. `heldout_tokens`: of documents on which forgetting is measured. For a chat model
    also conversations, of which the model writes both sides: `chats` to replay, and `questions` to ask before and
    after. Maximum lengths: `max_tokens` of a document, `prompt_tokens` of a question, `answer_tokens` of an answer.
    """

    tokens: int = Field(16_000, ge=0)
    heldout_tokens: int = Field(6_000, ge=0)
    chats: int = Field(48, ge=0)
    questions: int = Field(40, ge=0)
    max_tokens: int = Field(256, ge=16)
    prompt_tokens: int = Field(48, ge=4)
    answer_tokens: int = Field(96, ge=4)
    chunk: int = Field(32, ge=1)  # documents or conversations sampled between two progress events


class ReplayConfig(Config):
    """Replay of earlier text within the new text. `share`: of all training tokens.

    `source`: a folder or file of general text; by default text sampled from the model (`sampled`).
    """

    share: float = Field(0.2, ge=0, lt=1)
    source: str | None = None


class FurtherConfig(FinetuneConfig):
    """Next-token training of an existing model on more text.

    `data`: a folder or file of text; by default the recipe's corpus. `heldout`: share of the documents that is held
    out, of which at most `max_heldout` are evaluated. `prose`: keep only sentences of English prose. `general`: a
    folder or file of general text, used for evaluation only. `extend_vocabulary`: maximum number of tokens to add,
    learned on the text, each with at least `min_count` occurrences in it.
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
    def _check_source(self) -> Self:
        if self.task is not None:
            raise ValueError("continued pretraining reads text, not the rows of a task; remove task")
        if self.columns:
            raise ValueError("continued pretraining reads whole documents; remove columns")
        return self

    @model_validator(mode="after")
    def _check_extension(self) -> Self:
        if self.extend_vocabulary and (self.lora or self.training.freeze_blocks):
            raise ValueError(
                "extend_vocabulary adds rows to the embedding, which must be trained: remove lora and freeze_blocks"
            )
        return self

    @model_validator(mode="after")
    def _check_replay(self) -> Self:
        own = self.replay.source is None
        if self.replay.share and own and not (self.sampled.tokens or self.sampled.chats):
            raise ValueError(
                "there is nothing to replay: set replay.source, raise sampled.tokens, or set replay.share to 0"
            )
        return self
