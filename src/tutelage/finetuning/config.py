"""What the settings of every finetuning method have in common."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tutelage.model.lora_config import LoraConfig
from tutelage.store.config import Config
from tutelage.training.config import TrainingConfig

SHORTEST = 16  # tokens
# Keys of other programs, and what is done about it here. Each is a fault that this system cannot have.
_STOP = "the stop token of every learned answer is learned, always"
_TEMPLATE = "the model's own chat template is used in training and when it is served, so that the two cannot differ"
_PADDING = "rows are packed without padding, and nothing is read at a padding token"
ELSEWHERE = {
    "train_on_eos": _STOP, "train_on_eot": _STOP, "append_eos": _STOP, "add_eos_token": _STOP,
    "chat_template": _TEMPLATE, "template": _TEMPLATE, "prompt_template": _TEMPLATE,
    "pad_token": _PADDING, "pad_token_id": _PADDING, "padding_side": _PADDING, "pad_to_max_length": _PADDING,
}  # fmt: skip


class FinetuneConfig(Config):
    """How it trains, how long its texts may be, and whose rows it takes: a file's, or a task's.

    `data`: the user's own file. `columns`: our name of a column -> the file's, where they differ. `task`: a task whose
    examples the corpus holds; beside `data` it supplies none and only grades, if it has a rule. `context_length`: no
    example is longer than this many tokens; of methods that drop longer ones, 0 chooses it so that 99 % of the rows are
    kept. `lora`: train low-rank adapters (and a classification head) and leave the
    weights as they are.
    """

    learns: ClassVar[Literal["labels", "answers"]] = "answers"  # the kind of task it can use

    @model_validator(mode="before")
    @classmethod
    def _says_what_is_done_otherwise(cls, given: Any) -> Any:
        for name, why in ELSEWHERE.items():
            if isinstance(given, dict) and name in given and name not in cls.model_fields:
                raise ValueError(f"there is no {name!r}: {why}")
        return given

    data: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    task: str | None = None
    context_length: int = Field(256, ge=16)
    lora: LoraConfig | None = None
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _context_holds_something(self) -> Self:
        if 0 < self.context_length < SHORTEST:
            raise ValueError(f"context_length must be at least {SHORTEST}, or 0 to choose it from the rows")
        return self

    @model_validator(mode="after")
    def _known_task(self) -> Self:
        from tutelage.tasks import task

        if self.task is not None:
            task(self.task)
        return self

    @model_validator(mode="after")
    def _adapters_are_trained_alone(self) -> Self:
        if self.lora and self.training.freeze_blocks:
            raise ValueError("lora already freezes every block, so training.freeze_blocks must be 0; see lora.layers")
        if self.lora and self.training.optimizer != "adamw":
            raise ValueError("lora is trained with training.optimizer 'adamw'; muon is for whole weight matrices")
        return self

    def needs_rows(self) -> None:
        """Raises ValueError where neither a file nor a task whose rows the method can learn is named."""
        from tutelage.tasks import task

        if self.data is None and self.task is None:
            raise ValueError("no rows to learn from: name a file (data) or a task")
        if self.data is None and self.task is not None and (kind := task(self.task).kind) != self.learns:
            raise ValueError(f"task {self.task!r} has {kind}, and this method learns {self.learns}")
