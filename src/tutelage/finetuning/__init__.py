"""Finetuning methods as objectives over the one loop. A method is a folder here with a `spec.py`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from tutelage.store.errors import ConfigError, nearest

if TYPE_CHECKING:
    from tutelage.store.stage import StageSpec

__all__ = ["method", "method_names"]


def method_names() -> list[str]:
    """Names of all methods: every folder here that has a `spec.py`."""
    # By their files: the command line names them in its help, and nothing is imported for that.
    return sorted({spec.parent.name for place in __path__ for spec in Path(place).glob("*/spec.py")})


def method(name: str, where: str = "method") -> StageSpec:
    """The spec of a method. Raises ConfigError, naming the nearest, where there is none of that name."""
    if name not in method_names():
        raise ConfigError(f"{where}: there is no finetuning method {name!r}", hint=nearest(name, method_names()))
    found: StageSpec = importlib.import_module(f"{__name__}.{name}.spec").SPEC
    return found
