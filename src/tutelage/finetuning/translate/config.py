"""Settings of finetuning for translation."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from tutelage.finetuning.instruct.config import InstructConfig

NAMED = "Translate from {source} to {target}:\n{text}"
NAMELESS = "Translate:\n{text}"


class TranslateConfig(InstructConfig):
    """Instruction finetuning on parallel text.

    `target_file`: the target sentences, line by line, if `data` contains only the source. `source_language`,
    `target_language`: language names in the prompt; by default those of the columns or files. `reverse`: also train the
    reverse direction. `prompt`: the prompt, with {text}, {source}, {target}; it is saved with the model. `max_rows` and
    `max_heldout` count pairs.
    """

    target_file: str | None = None
    source_language: str = ""
    target_language: str = ""
    reverse: bool = False
    prompt: str = ""

    @model_validator(mode="after")
    def _check_prompt(self) -> Self:
        if self.prompt and self.prompt.count("{text}") != 1:
            raise ValueError("prompt must contain {text} once, e.g. 'Translate to {target}: {text}'")
        if self.data is None:
            raise ValueError("no pairs to learn from: name a file (data)")
        return self
