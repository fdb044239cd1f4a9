"""Keep what libraries log about each other while they are imported away from the user."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

# transformers imports torchao if it is installed, which warns of kernels for other GPUs and of its own use of torch.
_NOISY = ("torchao", "torch.utils._pytree")


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Context manager that hides messages of these loggers below errors."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [one.level for one in loggers]
    try:
        for one in loggers:
            one.setLevel(logging.ERROR)
        yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
