"""Faults of rows: for each, how to detect it, and how to plant it in sound rows for a check."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tutelage.corpus.selection.features import Floats
from tutelage.guidance.rows.answers import FEWEST_WORDS, broken_off, cut, other_language, refusals
from tutelage.guidance.rows.labels import Unseen
from tutelage.guidance.rows.pairs import swapped
from tutelage.guidance.rows.reading import FileRow, FileRows
from tutelage.guidance.rows.suspicion import doubles, off_topic, wrong_answers, wrong_labels
from tutelage.store.events import EventLog

DOUBLED, CONTRADICTS, OFF_TOPIC = "duplicate", "duplicate with another label", "off-topic"
WRONG_LABEL, WRONG_ANSWER, SWAPPED = "wrong label", "wrong answer", "swapped pair"
MISORDERED = "contradicts its scores"
BROKEN_OFF, REFUSAL, OTHER_LANGUAGE = "answer breaks off", "refusal", "answer in another language"
_FEWEST_OF_LABEL = 5  # labels with fewer rows cannot be learned, so their rows are not judged

Rows = Sequence[FileRow]
Said = list[tuple[str, float, str]]  # (reason, doubt, detail) for each row
Unlabelled = Callable[[Rows], Unseen]


@dataclass(frozen=True)
class Detector:
    """look: the doubt of each row. plant: makes sound rows faulty, in order; None if that is impossible with the rows
    of the file. may: whether a row can get the fault."""

    why: str
    look: Callable[[Rows], Said]
    plant: Callable[[list[FileRow], random.Random], list[FileRow]] | None = None
    may: Callable[[FileRow], bool] = lambda _: True


def detectors(found: FileRows, unseen: Unlabelled, log: EventLog) -> list[Detector]:
    """The detectors for a kind of file. unseen: out-of-fold probabilities of labels."""
    classify = found.kind == "classify"
    made = [  # the first one is for duplicates, which are not checked
        Detector(DOUBLED, lambda rows: _doubled(rows, classify, found.unit)),
        Detector(OFF_TOPIC, _off_topic),
    ]
    if classify:
        labels = Detector(WRONG_LABEL, lambda rows: _labels(rows, unseen(rows), log), _other_labels)
        return [*made, labels]
    if found.kind == "instruct":
        made.append(Detector(WRONG_ANSWER, _answers, _moved_on))
    if found.kind == "prefer":
        made.append(Detector(SWAPPED, _swapped, lambda rows, _: [_turned(row) for row in rows], _unscored))
    if found.kind in ("instruct", "prefer"):
        made += [
            Detector(BROKEN_OFF, _broken_off, _cut, lambda row: len(row.answer.split()) > FEWEST_WORDS + 1),
            Detector(REFUSAL, lambda rows: _said(REFUSAL, refusals([row.answer for row in rows]))),
            Detector(OTHER_LANGUAGE, _other_language),
        ]
    return made


def _said(why: str, doubt: Floats, detail: Sequence[str] | None = None) -> Said:
    details = detail if detail is not None else [""] * len(doubt)
    return [(why, one, of) for one, of in zip(doubt.tolist(), details, strict=True)]


def _doubled(rows: Rows, classify: bool, unit: str) -> Said:
    """Near duplicates are slightly less certain than exact ones; with another label than the first row, one of the two
    is wrong."""
    asked = doubles([row.text if classify else row.whole for row in rows])
    said: Said = []
    for at, (first, exact) in enumerate(zip(asked.like.tolist(), asked.exact.tolist(), strict=True)):
        other = rows[first]
        if first == at:
            said.append((DOUBLED, 0.0, ""))
        elif classify and other.answer != rows[at].answer:
            said.append((CONTRADICTS, 1.0, f"{unit} {other.line} has {other.answer!r}"))
        else:
            said.append((DOUBLED, 0.99 if exact else 0.95, f"of {unit} {other.line}"))
    return said


def _off_topic(rows: Rows) -> Said:
    return _said(OFF_TOPIC, off_topic([row.text for row in rows]))


def _answers(rows: Rows) -> Said:
    return _said(WRONG_ANSWER, wrong_answers([row.text for row in rows], [row.answer for row in rows]))


def _moved_on(rows: list[FileRow], _: random.Random) -> list[FileRow]:
    """Give each row the answer of the next one."""
    return [replace(row, answer=other.answer) for row, other in zip(rows, [*rows[1:], *rows[:1]], strict=True)]


def _broken_off(rows: Rows) -> Said:
    doubt = broken_off([row.answer for row in rows])
    return _said(BROKEN_OFF, doubt, [f"ends with {' '.join(row.answer.split()[-3:])!r}" for row in rows])


def _cut(rows: list[FileRow], chance: random.Random) -> list[FileRow]:
    return [replace(row, answer=cut(row.answer, chance.random())) for row in rows]


def _other_language(rows: Rows) -> Said:
    doubt, languages = other_language([row.answer for row in rows])
    return _said(OTHER_LANGUAGE, doubt, [f"{name}?" for name in languages])


def _swapped(rows: Rows) -> Said:
    doubt = swapped([row.text for row in rows], [row.answer for row in rows], [row.rejected for row in rows])
    said = _said(SWAPPED, doubt)
    return [
        (MISORDERED, 1.0, "the rejected answer has the higher score") if row.misordered else one
        for row, one in zip(rows, said, strict=True)
    ]


def _unscored(row: FileRow) -> bool:
    return not row.misordered


def _turned(row: FileRow) -> FileRow:
    return replace(row, answer=row.rejected, rejected=row.answer)


def _labels(rows: Rows, unseen: Unseen, log: EventLog) -> Said:
    counts = Counter(row.answer for row in rows)
    labels = sorted(label for label, count in counts.items() if count >= _FEWEST_OF_LABEL)
    if rare := sorted(set(counts) - set(labels)):
        few = sum(counts[label] for label in rare)
        log.note(f"the labels of {few} rows are not judged: {len(rare)} labels have less than {_FEWEST_OF_LABEL} rows")
    judged = np.array([at for at, row in enumerate(rows) if row.answer in labels], np.int64)
    said: Said = [(WRONG_LABEL, 0.0, "")] * len(rows)
    if len(labels) < 2:
        return said
    given = np.array([labels.index(rows[at].answer) for at in judged])
    found = unseen(judged, given, len(labels))
    if found is None:
        log.warn("no text contains a word: labels are not judged")
        return said
    doubt, likelier = wrong_labels(given, found)
    for place, at in enumerate(judged):
        said[at] = (WRONG_LABEL, float(doubt[place]), f"more likely {labels[likelier[place]]!r}")
    return said


def _other_labels(rows: list[FileRow], chance: random.Random) -> list[FileRow]:
    """Give each row a different label, drawn from those of the other rows, so that frequencies are kept."""
    labels = [row.answer for row in rows]
    return [
        replace(row, answer=chance.choice([one for one in labels if one != row.answer] or [row.answer])) for row in rows
    ]
