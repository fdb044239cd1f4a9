"""Rank the rows of a file by doubt, each with its most likely fault."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tutelage.corpus.selection.features import Floats
from tutelage.guidance.rows.check import Check, self_check
from tutelage.guidance.rows.detectors import Rows, Said, Unlabelled, detectors
from tutelage.guidance.rows.labels import Places, Unseen, by_states, by_words, read_states, together
from tutelage.guidance.rows.reading import FileRow, FileRows
from tutelage.inference.language_model import LanguageModel
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog
from tutelage.store.progress import ticker

MOST_ROWS = 50_000  # more would take longer than minutes
LEAST = 0.5  # minimum doubt of a row that counts as doubtful


@dataclass(frozen=True)
class Doubt:
    """A row with its doubt, 0 to 1. `detail`: e.g. the line that it duplicates, or the more likely label."""

    line: int
    why: str
    doubt: float
    text: str
    answer: str
    detail: str

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Doubts:
    """rows: all rows, the most doubtful first. checks: precision of the doubts by planted faults."""

    rows: list[Doubt]
    checks: list[Check]


def doubtful_rows(found: FileRows, log: EventLog, lm: LanguageModel | None = None, check: bool = True) -> Doubts:
    """All rows, the most doubtful first, in file order for equal doubt, each with the reason of the highest doubt.

    `lm`: a model that also reads the texts of a labelled file. `check`: measure the precision of each reason by planted
    faults, and multiply its doubts by it, so that an unreliable one ranks low. Raises InputError for more than 50,000
    rows, ConfigError for a model with other rows than labelled texts.
    """
    rows = found.rows
    if len(rows) > MOST_ROWS:
        raise InputError(
            f"{found.file} has {len(rows):,} rows; the maximum is {MOST_ROWS:,}", hint="give a part of the file"
        )
    if lm is not None and found.kind != "classify":
        raise ConfigError(f"--model requires texts with labels; {found.file} has none", hint="remove --model")
    unseen = _unseen(found, lm, log)
    who = detectors(found, unseen, log)
    tick = ticker(log, "looking for doubtful rows", len(who) + check, "measures")
    said = []
    for number, detector in enumerate(who, 1):
        said.append(detector.look(rows))
        tick(number)
    checks = []
    if check:  # without a log, as notes on the rows were logged above
        checks = self_check(_different(rows, said[0]), detectors(found, unseen, EventLog()))
        tick(len(who) + 1)
    worth = {one.why: one.share for one in checks}
    worst = [
        max(((why, doubt * worth.get(why, 1.0), detail) for why, doubt, detail in each), key=lambda one: one[1])
        for each in zip(*said, strict=True)
    ]
    doubts = [_doubt(row, *one) for row, one in zip(rows, worst, strict=True)]
    return Doubts(sorted(doubts, key=lambda one: (-one.doubt, one.line)), checks)


def _different(rows: Rows, doubled: Said) -> list[FileRow]:
    """Rows that are not duplicates of earlier ones."""
    return [row for row, (_, doubt, _) in zip(rows, doubled, strict=True) if doubt < LEAST]


def counted(doubts: list[Doubt]) -> dict[str, int]:
    """Number of rows with a doubt of at least `LEAST`, by reason."""
    return dict(Counter(one.why for one in doubts if one.doubt >= LEAST).most_common())


def _unseen(found: FileRows, lm: LanguageModel | None, log: EventLog) -> Unlabelled:
    """Out-of-fold label probabilities from words, with a model also from its hidden states, which are computed once."""
    states = read_states([row.text for row in found.rows], lm, log) if lm is not None else None
    place = {row.line: at for at, row in enumerate(found.rows)}

    def of(rows: Rows) -> Unseen:
        def unseen(places: Places, given: Places, labels: int) -> Floats | None:
            words = by_words([rows[at].text for at in places], given, labels)
            if states is None:
                return words
            mine = np.array([place[rows[at].line] for at in places])
            return together(by_states({depth: one[mine] for depth, one in states.items()}, given, labels), words)

        return unseen

    return of


def _doubt(row: FileRow, why: str, doubt: float, detail: str) -> Doubt:
    return Doubt(row.line, why, round(doubt, 4), row.text, row.answer, detail)
