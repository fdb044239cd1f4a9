"""Settings of `adopt`, the import of an external model."""

from __future__ import annotations

from pydantic import Field

from tutelage.store.config import Config


class AdoptConfig(Config):
    """An external model that replaces pretraining; finetuning starts from it.

    `source`: a model directory, a .gguf file, a name known here (`smollm2`), or org/name on the Hugging Face hub.
    `context_length`: limit on the model's context, with which memory and time grow; 0: the full context.
    """

    source: str = Field(min_length=1)
    context_length: int = Field(0, ge=0)
