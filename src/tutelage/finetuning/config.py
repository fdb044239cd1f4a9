"""Settings shared by all finetuning methods."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tutelage.model.lora_config import LoraConfig
from tutelage.store.config import Config
from tutelage.training.config import TrainingConfig

SHORTEST = 16  # tokens
# Keys known from other programs that are unnecessary here, with the reason for the error message.
_STOP = "the stop token of every trained answer is always trained"
_TEMPLATE = "training and serving both use the model's own chat template"
_PADDING = "rows are packed without padding, and padding tokens are never read"
ELSEWHERE = {
    "train_on_eos": _STOP, "train_on_eot": _STOP, "append_eos": _STOP, "add_eos_token": _STOP,
    "chat_template": _TEMPLATE, "template": _TEMPLATE, "prompt_template": _TEMPLATE,
    "pad_token": _PADDING, "pad_token_id": _PADDING, "padding_side": _PADDING, "pad_to_max_length": _PADDING,
}  # fmt: skip


class FinetuneConfig(Config):
    """Training settings, context length, and the source of the rows: a file or a task.

    `data`: the user's own file. `columns`: our column name -> the file's, if they differ. `task`: a task with examples
    from the corpus; with `data` it only grades, if it has a rule. `context_length`: maximum tokens per example; for
    methods that drop longer ones, 0 chooses it such that 99 % of the rows are kept. `lora`: train low-rank adapters
    (and a classification head) with frozen weights.
    """

    learns: ClassVar[Literal["labels", "answers"]] = "answers"  # the kind of task it can use

    @model_validator(mode="before")
    @classmethod
    def _reject_foreign_keys(cls, given: Any) -> Any:
        for name, why in ELSEWHERE.items():
            if isinstance(given, dict) and name in given and name not in cls.model_fields:
                raise ValueError(f"unknown key {name!r}: {why}")
        return given

    data: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    task: str | None = None
    context_length: int = Field(256, ge=16)
    lora: LoraConfig | None = None
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _check_context(self) -> Self:
        if 0 < self.context_length < SHORTEST:
            raise ValueError(f"context_length must be at least {SHORTEST}, or 0 to choose it from the rows")
        return self

    @model_validator(mode="after")
    def _check_task(self) -> Self:
        from tutelage.tasks import task

        if self.task is not None:
            task(self.task)
        return self

    @model_validator(mode="after")
    def _check_lora(self) -> Self:
        if self.lora and self.training.freeze_blocks:
            raise ValueError("lora freezes every block: set training.freeze_blocks to 0; see lora.layers")
        if self.lora and self.training.optimizer != "adamw":
            raise ValueError("lora requires training.optimizer 'adamw'; muon is for full weight matrices")
        return self

    def needs_rows(self) -> None:
        """Raises ValueError unless a file, or a task with rows that fit the method, is set."""
        from tutelage.tasks import task

        if self.data is None and self.task is None:
            raise ValueError("no rows to learn from: set data (a file) or task")
        if self.data is None and self.task is not None and (kind := task(self.task).kind) != self.learns:
            raise ValueError(f"task {self.task!r} has {kind}, but this method requires {self.learns}")
