"""The fields of a record: found by name or synonym, each either taken or counted as not used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tutelage.store.errors import ConfigError, InputError, nearest


class Fields:
    """One record's values under lower-case names. What is never taken is named by `unused`.

    `columns` maps our name of a field to the file's; a column so named is found under our name alone.
    """

    def __init__(self, record: Mapping[str, Any], columns: Mapping[str, str] | None = None) -> None:
        self._record = record
        self._names: dict[str, str] = {}
        renamed = {file.strip().lower(): ours for ours, file in (columns or {}).items()}
        for name in record:
            plain = name.strip().lower()
            # Of two names that differ in case alone the first is found; the other stays and is named as unused.
            self._names.setdefault(renamed.get(plain, plain), name)
        self._taken: set[str] = set()

    def has(self, *names: str) -> bool:
        """Whether one of the fields is there with something in it."""
        return any(name in self._names and not is_empty(self._record[self._names[name]]) for name in names)

    def take(self, *names: str) -> Any:
        """The first of the fields that has something in it, else the first that is there at all, else None."""
        there = [name for name in names if name in self._names]
        for name in [name for name in there if self.has(name)] or there[:1]:
            self._taken.add(self._names[name])
            return self._record[self._names[name]]
        return None

    def peek(self, name: str) -> Any:
        """A field's value, which stays counted as unused."""
        return self._record[self._names[name]] if name in self._names else None

    def take_text(self, *names: str) -> str:
        """The first of the fields as text without outer white space. Raises ValueError saying what is wrong."""
        present = any(name in self._names for name in names)
        value = self.take(*names)
        if not present:
            raise ValueError(f"no {names[0]!r}")
        found = next(name for name in names if name in self._names and self._names[name] in self._taken)
        return text_of(value, found)

    def unused(self) -> list[str]:
        return [name for name, value in self._record.items() if name not in self._taken and not is_empty(value)]


def text_of(value: Any, name: str) -> str:
    """The value as text without outer white space. Raises ValueError if it is none, empty or damaged."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name!r} is empty or not text")
    if "\0" in value:
        raise ValueError(f"{name!r} has a NUL character: it is damaged")
    return value.strip()


def is_empty(value: Any) -> bool:
    """Whether there is nothing in a value: None, white space, an empty list or object."""
    return (
        value is None
        or (isinstance(value, (list, dict, tuple)) and not value)
        or (isinstance(value, str) and not value.strip())
    )


def check_columns(columns: Mapping[str, str] | None, allowed: Iterable[str], there: Iterable[str], file: str) -> None:
    """Raise ConfigError for a name that is not ours, InputError for a column that the file lacks."""
    allowed, there = list(allowed), list(there)
    lower = {name.strip().lower() for name in there}
    for ours, theirs in (columns or {}).items():
        if ours not in allowed:
            raise ConfigError(f"unknown column name {ours!r}", hint=nearest(ours, allowed))
        if theirs.strip().lower() not in lower:
            raise InputError(
                f"{file} has no column {theirs!r}", hint=nearest(theirs, there) if there else "it is empty"
            )
