"""Functions that are imported when they are called, so that specs stay light to import."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def late(place: str) -> Callable[..., Any]:
    """The function `package.module:name`, imported on its first call."""
    module, _, name = place.partition(":")

    def called(*arguments: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*arguments)

    called.__name__ = name
    return called
