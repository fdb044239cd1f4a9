"""The specs of all kinds of stage, found by their `spec.py` files: a new one needs no registration."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from pathlib import Path

from tutelage.store.stage import StageSpec

_ROOT = "tutelage"


def spec_of(kind: str) -> StageSpec | None:
    """The spec of a kind; None if unknown (e.g. for an artifact of another version)."""
    return _specs(_folders()).get(kind)


def every_spec() -> list[StageSpec]:
    """The specs of all kinds, sorted by kind."""
    found = _specs(_folders())
    return [found[kind] for kind in sorted(found)]


def _folders() -> tuple[str, ...]:
    """Packages of the house, two floors deep, that have a `spec.py`."""
    return tuple(name for parent in (_ROOT, *_below(_ROOT, "__init__.py")) for name in _below(parent, "spec.py"))


def _below(parent: str, file: str) -> Iterator[str]:
    """The packages in a package that hold a file of this name, by their files: importing is thirty times as slow."""
    for place in importlib.import_module(parent).__path__:
        for found in sorted(Path(place).glob(f"*/{file}")):
            yield f"{parent}.{found.parent.name}"


@functools.cache
def _specs(folders: tuple[str, ...]) -> dict[str, StageSpec]:
    found = {}
    for folder in folders:
        for value in vars(importlib.import_module(f"{folder}.spec")).values():
            if isinstance(value, StageSpec):
                found[value.kind] = value
    return found
