"""Settings of adoption."""

from __future__ import annotations

from pydantic import Field

from tutelage.store.config import Config


class AdoptConfig(Config):
    """A model from elsewhere in place of one raised here; finetuning starts from it.

    `source`: a model directory, a .gguf file, a name known here (`smollm2`), or org/name on the Hugging Face hub.
    `context_length`: read no more than this of what the model could; memory and time grow with it. 0: all.
    """

    source: str = Field(min_length=1)
    context_length: int = Field(0, ge=0)
