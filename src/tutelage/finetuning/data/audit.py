"""What reading a file of the user found: every row kept, dropped or not fully used is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from tutelage.store.events import EventLog

SHOWN = 5  # line numbers and names that a message lists before it says how many more there are


@dataclass(frozen=True)
class Audit:
    """The account of one file. `rows` = `kept` + the sum of `dropped`: each dropped row has exactly one reason.

    `examples`: the first line (or, where the file has no lines, row) numbers of each reason, counted from 1.
    `ignored`: in how many rows a field stood that was not used. `labels`: rows kept of each label (classification).
    """

    file: str
    format: str
    encoding: str
    rows: int
    kept: int
    dropped: dict[str, int]
    examples: dict[str, list[int]]
    ignored: dict[str, int]
    labels: dict[str, int]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unit: str = "line"

    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "notes": list(self.notes), "warnings": list(self.warnings)}

    def tell(self, log: EventLog) -> None:
        """Say the account on the log: what was read and noted, then as warnings what was dropped or not used."""
        log.note(f"{self.file}: {self.rows} rows read as {self.format} ({self.encoding}), {self.kept} kept")
        if self.labels:
            log.note(f"{self.file}: labels: {listed([f'{name!r} {count}' for name, count in self.labels.items()], 30)}")
        for note in self.notes:
            log.note(f"{self.file}: {note}")
        if self.dropped:
            log.warn(f"{self.file}: {sum(self.dropped.values())} of {self.rows} rows dropped: {self.why_dropped()}")
        if self.ignored:
            fields = listed([f"{name!r} in {counted(count, 'row')}" for name, count in self.ignored.items()], 12)
            log.warn(f"{self.file}: fields that are not used: {fields}")
        for warning in self.warnings:
            log.warn(f"{self.file}: {warning}")

    def why_dropped(self) -> str:
        """The reasons with their counts and first line numbers, most frequent first."""
        said = []
        for reason, count in self.dropped.items():
            numbers = self.examples[reason]
            if count == 1:
                said.append(f"{self.unit} {numbers[0]}: {reason}")
            else:
                places = ", ".join(map(str, numbers)) + (", ..." if count > len(numbers) else "")
                said.append(f"{reason}: {count} rows ({self.unit}s {places})")
        return listed(said, 8, "; ")


@dataclass
class Findings:
    """Findings while a file is read; becomes an Audit. `unused`: names of unused fields in the current row."""

    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[int]] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    unused: set[str] = field(default_factory=set)
    noted: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def drop(self, line: int, reason: str) -> None:
        self.dropped[reason] += 1
        numbers = self.examples.setdefault(reason, [])
        if len(numbers) < SHOWN:
            numbers.append(line)


def listed(items: Iterable[str], most: int = SHOWN, between: str = ", ") -> str:
    """The first `most` items, and how many more there are."""
    items = list(items)
    more = f"{between}and {len(items) - most} more" if len(items) > most else ""
    return between.join(items[:most]) + more


def counted(number: int, what: str) -> str:
    """ "1 row", "2 rows"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
