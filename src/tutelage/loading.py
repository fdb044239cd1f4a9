"""`tutelage.load`: any model a user can name, ready to be used."""

from __future__ import annotations

from pathlib import Path

from tutelage.inference import language_model
from tutelage.inference.language_model import LanguageModel
from tutelage.interchange.source import is_foreign, open_model
from tutelage.store.device import Precision, choose_device, choose_precision
from tutelage.store.events import EventLog


def load(
    source: Path | str, device: str = "auto", dtype: Precision = "float32", log: EventLog | None = None
) -> LanguageModel:
    """Load a run (its chat model), artifact or model directory, a .gguf file, `smollm2`, or org/name on the hub.

    device: "auto" takes the GPU where there is one. dtype: "float32", "bfloat16", or "auto" for the fast one.
    Raises InputError that says what is there if it is no model, DamagedError if its files are not whole.
    """
    if not is_foreign(str(source)):
        return language_model.load(source, device, dtype)
    place = choose_device(device)
    return LanguageModel(*open_model(str(source), log or EventLog(), place, choose_precision(dtype, place)))
