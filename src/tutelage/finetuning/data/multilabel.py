"""Texts with any number of labels each: a column of lists, of lists written as text, or a yes-no column a label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.finetuning.data.audit import Audit, Findings, listed
from tutelage.finetuning.data.fields import Fields, check_columns, is_empty
from tutelage.finetuning.data.labelled import (
    COLUMNS,
    LABEL,
    PAIRS,
    TEXT,
    are_vectors,
    label_text,
    places,
    text_columns,
    unwritten,
)
from tutelage.finetuning.data.reading import account, convert_all, is_false, is_judgement
from tutelage.finetuning.data.records import Source, read_records
from tutelage.finetuning.data.rows import Row
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_json

LABELS = ("labels", "tags", "categories", "topics", "genres", "classes", "emotions", "intents", "targets", *LABEL)
SEPARATORS = (";", "|", ",", "/", "#")
_ALONE = ("/", "#")  # these stand inside of names, too: only where most of the pieces are labels by themselves
_MARKS = ("x", "✓", "✔", "☑")  # a cell of a form that is ticked; the others are left empty
_NAMES = ("label", "name", "text", "value")  # of a label that is an object
WANTED = "a column of texts, and one of lists of labels (text,labels) or a column of 0 and 1 for each label"


def read_multilabel(path: Path, log: EventLog, columns: Mapping[str, str] | None = None) -> tuple[list[Row], Audit]:
    """Rows {"id","text","labels"}, labels sorted and possibly none, and the account of the file, said on the log.

    Labels are lists (of JSON or Parquet), lists written as text (`["a", "b"]`, `a;b`, `a|b`, `a, b`), vectors of 0 and
    1, objects ({"toxic": 1}), or columns that hold yes or no. `columns` maps text, text_b, label to the file's columns.
    Raises InputError where they cannot be told, or where every text has exactly one label.
    """
    source = read_records(path, {*TEXT, *LABELS, *(name for pair in PAIRS for name in pair)}, columns)
    check_columns(columns, COLUMNS, source.columns, source.file)
    columns = dict(columns or {})
    texts = text_columns([name for name in source.columns if name != columns.get("label")])
    columns = {**dict(zip(("text", "text_b"), texts, strict=False)), **columns}
    flags = [] if "label" in columns else flag_columns(source)
    if not flags and "label" not in columns:
        there = {name.strip().lower(): name for name in reversed(source.columns)}
        named = [there[name] for name in LABELS if name in there]
        if named:
            columns["label"] = named[0]
    if source.rows and ("text" not in columns or not (flags or "label" in columns)):
        missing = "text" if "text" not in columns else "label"
        shown = listed([repr(name) for name in source.paths], 12)
        raise InputError(
            f"{source.file} has no usable row: which column is the {missing} cannot be told from {shown}",
            hint=f"say which: --column {missing}=NAME; expected {WANTED}",
        )
    vectors = not flags and are_vectors([Fields(row, columns).take("label") for row in source.rows])
    separator = None if flags or vectors else _separator(source, columns)

    ticked = {name for name in flags if any(_is_mark(row.get(name)) for row in source.rows)}

    def labels_of(value: Any) -> list[str]:
        return places(unwritten(value)) if vectors and not is_empty(value) else _listed(value, separator)

    def convert(fields: Fields, found: Findings) -> tuple[str, str, Row]:
        text = fields.take_text("text")
        if fields.has("text_b"):
            text = f"{text}\n{fields.take_text('text_b')}"
        labels = _flagged(fields, flags, ticked) if flags else labels_of(fields.take("label"))
        row = {"text": text, "labels": sorted(set(labels))}
        return ("text,labels" if not flags else "text, a column a label"), sha256_json(row)[:16], row

    rows, found = convert_all(source, convert, WANTED, columns)
    if flags:
        found.notes.append(f"each of {len(flags)} columns of yes and no is a label: {listed(map(repr, flags), 12)}")
    elif vectors:
        found.notes.append(f"{columns['label']!r} holds vectors of 0 and 1: a label is named by its place, from 0")
    elif separator:
        found.notes.append(f"{columns['label']!r} holds labels that are separated by {separator!r}")
    _say(source, rows, found)
    return rows, account(source, rows, found, log)


def flag_columns(source: Source) -> list[str]:
    """Columns with only yes and no, if there are two or more; identifiers are excluded."""
    if not source.rows:
        return []
    found = []
    for name in source.columns:
        values = [row.get(name) for row in source.rows]
        told = [value for value in values if not is_empty(value)]
        yes_no = all(is_judgement(value) for value in told) and len({is_false(value) for value in told}) == 2
        ticked = len(told) < len(values) and all(_is_mark(value) for value in told)
        if told and (yes_no or ticked):
            found.append(name)
    return found if len(found) > 1 else []


def _separator(source: Source, columns: Mapping[str, str]) -> str | None:
    """The separator of labels written as one text: a character that splits the texts into fewer distinct labels."""
    values = [Fields(row, columns).take("label") for row in source.rows]
    texts = [value for value in values if isinstance(value, str) and isinstance(unwritten(value), str)]
    for separator in SEPARATORS:
        if any(separator in text for text in texts):
            pieces = {piece.strip() for text in texts for piece in text.split(separator) if piece.strip()}
            alone = {text.strip().strip(separator) for text in texts if separator not in text.strip().strip(separator)}
            if len(pieces) < len(set(texts)) and (separator not in _ALONE or 2 * len(pieces & alone) > len(pieces)):
                return separator
    return None


def _listed(value: Any, separator: str | None) -> list[str]:
    """Raises ValueError for anything but a list of labels."""
    value = unwritten(value)
    if isinstance(value, str):
        value = value.split(separator) if separator else [value]
    if isinstance(value, dict):  # {"toxic": 1, "rude": 0}
        if not all(is_judgement(one) for one in value.values()):
            raise ValueError("'label' is an object whose values are not all yes or no")
        value = [name for name, one in value.items() if not is_false(one)]
    if value is None:
        return []
    if not isinstance(value, list):
        value = [value]
    value = [
        next((item[key] for key in _NAMES if key in item), item) if isinstance(item, dict) else item for item in value
    ]
    return [label_text(item) for item in value if not is_empty(item)]


def _flagged(fields: Fields, flags: Sequence[str], ticked: Collection[str]) -> list[str]:
    values = {name: fields.take(name.strip().lower()) for name in flags}
    if empty := [name for name, value in values.items() if is_empty(value) and name not in ticked]:
        raise ValueError(f"{empty[0]!r} says neither yes nor no")
    return [name for name, value in values.items() if not is_empty(value) and not is_false(value)]


def _is_mark(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in _MARKS


def _say(source: Source, rows: Sequence[Row], found: Findings) -> None:
    """Counts of labels and of texts without one. Raises InputError where every text has exactly one."""
    sizes = Counter(len(row["labels"]) for row in rows)
    if set(sizes) == {1}:
        raise InputError(
            f"{source.file}: every text has exactly one label", hint=f"tutelage finetune classify {source.file}"
        )
    counts = Counter(label for row in rows for label in row["labels"])
    if not counts:
        dropped = (
            f"; of {found.dropped.total()} dropped rows the first reason is: {next(iter(found.dropped))}"
            if found.dropped
            else ""
        )
        raise InputError(f"{source.file}: no text has a label{dropped}", hint=f"expected {WANTED}")
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    found.notes.append(f"labels: {listed([f'{name!r} {count}' for name, count in ranked], 30)}")
    several = sum(count for size, count in sizes.items() if size > 1)
    found.notes.append(f"{several} of {len(rows)} texts have several labels, {sizes[0]} have none")
    unlike = len(counts) > len(rows) / 2 and len(rows) >= 20
    if unlike:
        raise InputError(
            f"{source.file}: {len(counts)} different labels in {len(rows)} rows, such as "
            f"{listed([repr(name) for name, _ in ranked], 2)}: this column names no classes",
            hint="name another: --column label=NAME",
        )
