"""Which of my rows hurt? Every row with the likeliest thing that is wrong with it, the most doubtful first."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tutelage.finetuning.classify.preflight import unseen_probabilities
from tutelage.guidance.rows.reading import FileRow, FileRows
from tutelage.guidance.rows.suspicion import doubles, off_topic, wrong_answers, wrong_labels
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog

MOST_ROWS = 50_000  # beyond, it is no longer a matter of minutes
LEAST = 0.5  # doubt from which on a row is counted
_FEWEST_OF_LABEL = 5  # a label of fewer rows is not learned, so that nothing is said of its rows' labels
DOUBLED, CONTRADICTS, OFF_TOPIC = "doubled", "doubled, with another answer", "off-topic"
WRONG_LABEL, WRONG_ANSWER = "wrong label", "wrong answer"


@dataclass(frozen=True)
class Doubt:
    """A row that is in doubt. `doubt`: 0 to 1; `detail`: the line it doubles, or the label that is likelier."""

    line: int
    why: str
    doubt: float
    text: str
    answer: str
    detail: str

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def doubtful_rows(found: FileRows, log: EventLog) -> list[Doubt]:
    """Every row, the most doubtful first; of equal doubt those that come first in the file. Each row has one reason,
    the one with the highest doubt. Raises InputError for more than 50,000 rows."""
    rows = found.rows
    if len(rows) > MOST_ROWS:
        raise InputError(
            f"{found.file} has {len(rows):,} rows; up to {MOST_ROWS:,} are looked at", hint="give a part of the file"
        )
    said = [_doubled(found), _off_topic(found)]
    log.progress("looking for doubtful rows", 2, 3, "measures")
    if found.kind == "classify":
        said.append(_labels(found, log))
    elif found.kind == "instruct":
        doubt = wrong_answers([row.text for row in rows], [row.answer for row in rows])
        said.append([(WRONG_ANSWER, float(one), "") for one in doubt])
    log.progress("looking for doubtful rows", 3, 3, "measures")
    worst = [max(each, key=lambda one: one[1]) for each in zip(*said, strict=True)]
    doubts = [_doubt(row, *one) for row, one in zip(rows, worst, strict=True)]
    return sorted(doubts, key=lambda one: (-one.doubt, one.line))


def counted(doubts: list[Doubt]) -> dict[str, int]:
    """How many rows are in doubt by half or more, by reason."""
    return dict(Counter(one.why for one in doubts if one.doubt >= LEAST).most_common())


Said = list[tuple[str, float, str]]  # (why, doubt, detail) of each row


def _doubled(found: FileRows) -> Said:
    """A near double is a little less sure than an exact one; one with another label or answer than the first is worse,
    because one of the two is wrong."""
    asked = doubles([row.text if found.kind == "classify" else row.whole for row in found.rows])
    said: Said = []
    for at, (first, exact) in enumerate(zip(asked.like.tolist(), asked.exact.tolist(), strict=True)):
        other = found.rows[first]
        if first == at:
            said.append((DOUBLED, 0.0, ""))
        elif found.kind == "classify" and other.answer != found.rows[at].answer:
            said.append((CONTRADICTS, 1.0, f"{found.unit} {other.line} has {other.answer!r}"))
        else:
            said.append((DOUBLED, 0.99 if exact else 0.95, f"of {found.unit} {other.line}"))
    return said


def _off_topic(found: FileRows) -> Said:
    return [(OFF_TOPIC, float(one), "") for one in off_topic([row.text for row in found.rows])]


def _labels(found: FileRows, log: EventLog) -> Said:
    counts = Counter(row.answer for row in found.rows)
    labels = sorted(label for label, count in counts.items() if count >= _FEWEST_OF_LABEL)
    if rare := sorted(set(counts) - set(labels)):
        rows = sum(counts[label] for label in rare)
        log.note(f"nothing is said of the labels of {rows} rows: {len(rare)} labels have less than {_FEWEST_OF_LABEL}")
    judged = [at for at, row in enumerate(found.rows) if row.answer in labels]
    said: Said = [(WRONG_LABEL, 0.0, "")] * len(found.rows)
    if len(labels) < 2:
        return said
    unseen = unseen_probabilities(
        [found.rows[at].text for at in judged], [found.rows[at].answer for at in judged], labels
    )
    if unseen is None:
        log.warn("no text holds a word: nothing is said of labels")
        return said
    given = np.array([labels.index(found.rows[at].answer) for at in judged])
    doubt, likelier = wrong_labels(given, unseen)
    for place, at in enumerate(judged):
        said[at] = (WRONG_LABEL, float(doubt[place]), f"likelier {labels[likelier[place]]!r}")
    return said


def _doubt(row: FileRow, why: str, doubt: float, detail: str) -> Doubt:
    return Doubt(row.line, why, round(doubt, 4), row.text, row.answer, detail)
