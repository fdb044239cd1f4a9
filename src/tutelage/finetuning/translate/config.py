"""Settings of finetuning for translation."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from tutelage.finetuning.instruct.config import InstructConfig

NAMED = "Translate from {source} to {target}:\n{text}"
NAMELESS = "Translate:\n{text}"


class TranslateConfig(InstructConfig):
    """Instruction finetuning on parallel text.

    `target_file`: the other side, line by line, where `data` holds one side alone. `source_language`,
    `target_language`: their names in the prompt; by default those of the columns or of the files. `reverse`: learn the
    other direction too. `prompt`: how a translation is asked for, with {text}, {source}, {target}; the model keeps it.
    `max_rows` and `max_heldout` count pairs.
    """

    target_file: str | None = None
    source_language: str = ""
    target_language: str = ""
    reverse: bool = False
    prompt: str = ""

    @model_validator(mode="after")
    def _prompt_asks_for_the_text(self) -> Self:
        if self.prompt and self.prompt.count("{text}") != 1:
            raise ValueError("prompt must hold {text} once, e.g. 'Translate to {target}: {text}'")
        if self.data is None:
            raise ValueError("no pairs to learn from: name a file (data)")
        return self
