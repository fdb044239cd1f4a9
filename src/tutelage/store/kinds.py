"""The spec of every kind of stage, found where the rooms keep them: a new `spec.py` is known without being listed."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator

from tutelage.store.stage import StageSpec

_ROOT = "tutelage"


def spec_of(kind: str) -> StageSpec | None:
    """The spec of that kind; None where no room has one (an artifact of another version, say)."""
    return _specs(_folders()).get(kind)


def every_spec() -> list[StageSpec]:
    """The specs of all kinds, sorted by kind."""
    found = _specs(_folders())
    return [found[kind] for kind in sorted(found)]


def _folders() -> tuple[str, ...]:
    """Packages of the house, two floors deep, that have a `spec.py`."""
    return tuple(name for name in _packages() if importlib.util.find_spec(f"{name}.spec"))


def _packages() -> Iterator[str]:
    for room in pkgutil.iter_modules(importlib.import_module(_ROOT).__path__):
        if room.ispkg:
            name = f"{_ROOT}.{room.name}"
            yield name
            for inner in pkgutil.iter_modules(importlib.import_module(name).__path__):
                if inner.ispkg:
                    yield f"{name}.{inner.name}"


@functools.cache
def _specs(folders: tuple[str, ...]) -> dict[str, StageSpec]:
    found = {}
    for folder in folders:
        for value in vars(importlib.import_module(f"{folder}.spec")).values():
            if isinstance(value, StageSpec):
                found[value.kind] = value
    return found
