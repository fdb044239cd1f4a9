"""Tutelage: one system for the full lifecycle of a small language model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage.inference.constraint import Constraint
    from tutelage.inference.language_model import LanguageModel
    from tutelage.inference.sampling import Sampling
    from tutelage.inference.search import Beam, Contrastive
    from tutelage.loading import load
    from tutelage.tokenizer.messages import Message

# By its manual MKL may add up a product in another order from run to run unless it is told not to, before it is
# loaded; it costs nothing measurable. A setting of the user's goes first.
os.environ.setdefault("MKL_CBWR", "AUTO")
# Between two products threads wait for each other. Sleeping at once costs a small model a third of its speed; spinning
# on as by default makes a step ten times slower as soon as anything else runs here. A few microseconds cost neither.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
# oneDNN keeps a compiled kernel for each shape it has met, 1,024 by default. Where every batch has another number of
# targets they only pile up: 350 MB in 200 steps of instruction finetuning, and no time is saved.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
# Arrow's own allocator keeps what each of its threads has freed, and nothing takes it back: 50 MB after a small corpus.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

__version__ = "0.1.0"
__all__ = ["Beam", "Constraint", "Contrastive", "LanguageModel", "Message", "Sampling", "load"]

_HOMES = {
    "LanguageModel": "tutelage.inference.language_model",
    "load": "tutelage.loading",
    "Sampling": "tutelage.inference.sampling",
    "Constraint": "tutelage.inference.constraint",
    "Beam": "tutelage.inference.search",
    "Contrastive": "tutelage.inference.search",
    "Message": "tutelage.tokenizer.messages",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: `tutelage --help` must not pay for torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'tutelage' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
