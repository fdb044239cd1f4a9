"""The fields of a record: found by name or synonym, each either taken or counted as not used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tutelage.store.errors import ConfigError, InputError, nearest

# White space, and characters that take no place: zero-width spaces and joiners, the byte order mark.
BLANK = re.compile("[\\s\u200b\u200c\u200d\u2060\ufeff]*")


class Fields:
    """One record's values under lower-case names. What is never taken is named by `unused`.

    `columns` maps our name of a field to the file's. A column so named is found under our name alone, and stands for
    it even where the file has a column of that name, or of another usual one, too.
    """

    def __init__(self, record: Mapping[str, Any], columns: Mapping[str, str] | None = None) -> None:
        self._record = record
        first: dict[str, str] = {}
        for name in record:
            # Of two names that differ in case alone the first is found; the other stays and is named as unused.
            first.setdefault(name.strip().lower(), name)
        given = {ours: file.strip().lower() for ours, file in (columns or {}).items()}
        named = {ours: first.pop(file) for ours, file in given.items() if file in first}
        self._given = frozenset(given)
        self._names = {name: file for name, file in first.items() if name not in given} | named
        self._taken: set[str] = set()

    def named(self, *names: str) -> bool:
        """Whether the user said which column one of these fields is."""
        return not self._given.isdisjoint(names)

    def has(self, *names: str) -> bool:
        """Whether one of the fields is there with something in it."""
        there = [name for name in self._meant(names) if name in self._names]
        return any(not is_empty(self._record[self._names[name]]) for name in there)

    def take(self, *names: str) -> Any:
        """The first of the fields that has something in it, else the first that is there at all, else None."""
        there = [name for name in self._meant(names) if name in self._names]
        for name in [name for name in there if self.has(name)] or there[:1]:
            self._taken.add(self._names[name])
            return self._record[self._names[name]]
        return None

    def peek(self, *names: str) -> Any:
        """What `take` would give; the field stays counted as unused."""
        taken = set(self._taken)
        value = self.take(*names)
        self._taken = taken
        return value

    def take_text(self, *names: str) -> str:
        """The first of the fields as text without outer white space. Raises ValueError with the reason."""
        names = self._meant(names)
        present = any(name in self._names for name in names)
        value = self.take(*names)
        if not present:
            raise ValueError(f"no {names[0]!r}")
        found = next(name for name in names if name in self._names and self._names[name] in self._taken)
        return text_of(value, found)

    def _meant(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """A field and its synonyms; only the field if its column was named."""
        return names[:1] if names[0] in self._given else names

    def unused(self) -> list[str]:
        # Of a nested record of which a part was named by its path (`fields.prompt`), the rest is not wanted.
        used = {piece for name in self._taken for piece in (name, name.partition(".")[0])}
        return [name for name, value in self._record.items() if name not in used and not is_empty(value)]


def text_of(value: Any, name: str) -> str:
    """The value as text without outer white space; a number as it is written (5.0 is "5"), true and false as such.

    Raises ValueError if it is neither, empty or damaged.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)) and not is_empty(value):
        return str(int(value)) if isinstance(value, int) or value.is_integer() else repr(value)
    if not isinstance(value, str) or is_empty(value):
        raise ValueError(f"{name!r} is empty or not text")
    if "\0" in value:
        raise ValueError(f"{name!r} has a NUL character: it is damaged")
    return value.strip()


def is_empty(value: Any) -> bool:
    """Whether there is nothing in a value: None, NaN, white space or zero-width characters, an empty list or object."""
    return (
        value is None
        or value != value
        or (isinstance(value, (list, dict, tuple)) and not value)
        or (isinstance(value, str) and BLANK.fullmatch(value) is not None)
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
