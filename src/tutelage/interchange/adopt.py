"""Import an external model with its tokenizer as the base model of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.interchange.config import AdoptConfig
from tutelage.interchange.source import copy_extras, locate, open_model
from tutelage.model.decoder import DecoderLM
from tutelage.model.io import save_model
from tutelage.store.errors import DamagedError, InputError
from tutelage.store.events import EventLog
from tutelage.store.files import write_json

ADOPTED = "adopt.json"


def _refuse_not_finite(model: DecoderLM, source: str) -> None:
    """Raise DamagedError naming the first weight with NaN or infinity: every stage after it would learn nothing."""
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise DamagedError(
                f"{source}: the weight {name} is not finite (NaN or infinity)", hint="get the model again"
            )


def adopt(config: AdoptConfig, out: Path, log: EventLog) -> dict[str, Any]:
    """Write the model with its tokenizer to `out` as a model directory. Raises InputError if they do not match."""
    model, tok = open_model(config.source, log)
    if config.context_length:
        longest = min(config.context_length, model.config.max_position_embeddings)
        model.config = model.config.with_(max_position_embeddings=longest)
    if tok.vocab_size > model.config.vocab_size:
        raise InputError(f"{config.source}: the tokenizer has more ids than the model")
    _refuse_not_finite(model, config.source)
    save_model(model, out)
    tok.save(out)
    copy_extras(locate(config.source, log), out)
    # Metadata outside the Hugging Face layout: the source, and whether it is a chat model.
    write_json(out / ADOPTED, {"source": config.source, "chat": tok.chat_template is not None})
    return {
        "adopted": config.source,
        "family": model.config.family,
        "parameters": model.num_parameters(),
        "context": model.config.max_position_embeddings,
    }
