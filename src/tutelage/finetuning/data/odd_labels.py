"""Labels that may not be what they seem: several in one text, quantities, no label at all, one written in two ways."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence

from tutelage.finetuning.data.audit import Findings, listed
from tutelage.finetuning.data.reading import is_judgement
from tutelage.finetuning.data.records import Source
from tutelage.finetuning.data.rows import Row
from tutelage.finetuning.data.split import normalised
from tutelage.store.errors import InputError

NO_LABELS = ("nan", "none", "null", "n/a", "na", "#n/a", "-", "?", "unlabeled", "unlabelled")  # as tools write nothing
_JOINTS = (";", "|", ",")  # between the labels of a text that has several
SEVERAL_SHARE = 0.1  # with more of such rows the file is multi-label, with fewer they are odd ones


def refuse_joined(source: Source, rows: Sequence[Row], found: Findings) -> None:
    """Raise InputError where many labels are several ones in one text (`a;b`); where few are, they are named."""
    counts = Counter(row["label"] for row in rows)
    for mark in _JOINTS:
        joined = {label: [part.strip() for part in label.split(mark)] for label in counts if mark in label.strip(mark)}
        parts = Counter(part for label, each in joined.items() for part in each for _ in range(counts[label]))
        alone = {label for label in counts if label not in joined}
        # "Paris, France" is one label, whose parts stand nowhere else; those of `a;b` stand alone or in other company.
        again = [part for part in parts if part in alone or sum(part in each for each in joined.values()) > 1]
        if not joined or 2 * len(again) <= len(parts):
            continue
        number = sum(counts[label] for label in joined)
        said, shown = f"{number} of {len(rows)} rows have", next(iter(joined))
        if number > SEVERAL_SHARE * len(rows):
            raise InputError(
                f"{source.file} is multi-label data: {said} several labels, such as {shown!r}",
                hint="tutelage finetune multilabel FILE learns all of them",
            )
        found.warnings.append(
            f"{said} a label that looks like several joined by {mark!r}, such as {shown!r}; each is read as one"
        )


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ".", 1))
    except ValueError:
        return None


def refuse_numbers(source: Source, rows: Sequence[Row]) -> None:
    """Raise InputError where the label is a quantity, or a text of its own in nearly every row."""
    counts = Counter(row["label"] for row in rows)
    numbers = [_number(label) for label in counts]
    fractions = any(number is not None and number != number // 1 for number in numbers)
    numeric = all(number is not None for number in numbers)
    if numeric and fractions and (len(counts) > 20 or (len(counts) >= 5 and len(counts) > len(rows) / 2)):
        raise InputError(
            f"{source.file}: the labels are {len(counts)} different numbers with fractions, such as "
            f"{listed(counts, 3)}: to estimate a number is regression, not classification",
            hint="give classes instead (low, middle, high), or another column",
        )
    if len(rows) >= 20 and len(counts) > len(rows) / 2:
        raise InputError(
            f"{source.file}: {len(counts)} different labels in {len(rows)} rows, such as "
            f"{listed(map(repr, counts), 2)}: this column names no classes",
            hint="name another: --column label=NAME",
        )


def say_odd_labels(rows: Sequence[Row], found: Findings) -> None:
    """Warn of labels that are odd: none at all, the same in another spelling, contradicted by the same text."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in dict.fromkeys(row["label"] for row in rows):
        alike[unicodedata.normalize("NFKC", normalised(label))].append(label)
    counts = Counter(row["label"] for row in rows)
    nothing = [f"{label!r} {count}" for label, count in counts.items() if label.lower() in NO_LABELS]
    if nothing:
        found.warnings.append(
            f"labels that may stand for no label are read as labels: {', '.join(nothing)}; remove those rows if so"
        )
    if len(counts) > 2 and all(map(is_judgement, counts)):
        found.warnings.append(
            f"labels that say yes or no in several ways are different labels: {listed(map(repr, counts))}"
        )
    for group in alike.values():
        if len(group) > 1:
            names = ", ".join(map(repr, sorted(group)))
            found.warnings.append(
                f"labels that differ in case, white space or spelling of letters alone are different labels: {names}"
            )
    labels_of: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        labels_of[normalised(row["text"])].add(row["label"])
    contradicted = sum(len(labels) > 1 for labels in labels_of.values())
    if contradicted:
        found.warnings.append(
            f"{contradicted} texts stand with different labels; all are kept, on the same side of the split"
        )
    if len({row["label"] for row in rows}) == 1:
        found.warnings.append(f"every row has the same label: {rows[0]['label']!r}")
