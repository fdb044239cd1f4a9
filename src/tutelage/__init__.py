"""Tutelage raises a language model: one coherent system for the whole life of an LLM."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel
    from tutelage.inference.sampling import Sampling
    from tutelage.loading import load
    from tutelage.tokenizer.messages import Message

# By its manual MKL may add up a product in another order from run to run unless it is told not to, before it is
# loaded; it costs nothing measurable. A setting of the user's goes first.
os.environ.setdefault("MKL_CBWR", "AUTO")
# Threads that wait for each other by spinning make a step ten times slower as soon as anything else runs here.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

__version__ = "0.1.0"
__all__ = ["LanguageModel", "Message", "Sampling", "load"]

_HOMES = {
    "LanguageModel": "tutelage.inference.language_model",
    "load": "tutelage.loading",
    "Sampling": "tutelage.inference.sampling",
    "Message": "tutelage.tokenizer.messages",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: `tutelage --help` must not pay for torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'tutelage' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
