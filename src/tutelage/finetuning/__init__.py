"""Finetuning methods, as objectives of the shared training loop. A method is a subfolder with a `spec.py`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from tutelage.store.errors import ConfigError, nearest

if TYPE_CHECKING:
    from tutelage.store.stage import StageSpec

__all__ = ["method", "method_names"]


def method_names() -> list[str]:
    """Names of all methods: the subfolders with a `spec.py`."""
    # From file names, so that --help does not import the methods.
    return sorted({spec.parent.name for place in __path__ for spec in Path(place).glob("*/spec.py")})


def method(name: str, where: str = "method") -> StageSpec:
    """The spec of a method. Raises ConfigError with the nearest match for an unknown name."""
    if name not in method_names():
        raise ConfigError(f"{where}: unknown finetuning method {name!r}", hint=nearest(name, method_names()))
    found: StageSpec = importlib.import_module(f"{__name__}.{name}.spec").SPEC
    return found
