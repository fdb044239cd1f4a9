"""Finetuning methods as objectives over the one loop. A method is a folder here with a `spec.py`."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil

from tutelage.store.errors import ConfigError, nearest
from tutelage.store.stage import StageSpec

__all__ = ["method", "method_names"]


def method_names() -> list[str]:
    """Names of all methods: every folder here that has a `spec.py`."""
    packages = [name for _, name, is_package in pkgutil.iter_modules(__path__) if is_package]
    return sorted(name for name in packages if importlib.util.find_spec(f"{__name__}.{name}.spec"))


def method(name: str, where: str = "method") -> StageSpec:
    """The spec of a method. Raises ConfigError, naming the nearest, where there is none of that name."""
    if name not in method_names():
        raise ConfigError(f"{where}: there is no finetuning method {name!r}", hint=nearest(name, method_names()))
    found: StageSpec = importlib.import_module(f"{__name__}.{name}.spec").SPEC
    return found
