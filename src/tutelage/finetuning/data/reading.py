"""From records to rows: one converter applied to each record, and the account of what became of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tutelage.finetuning.data.audit import Audit, Findings, listed
from tutelage.finetuning.data.fields import Fields
from tutelage.finetuning.data.parts import by_part
from tutelage.finetuning.data.records import Source
from tutelage.finetuning.data.rows import Row
from tutelage.finetuning.data.tables import MORE_FIELDS
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog

Converter = Callable[[Fields, Findings], tuple[str, str, Row]]
"""(layout, id, row) of a record. Raises ValueError with the reason for which the record is dropped."""


def convert_all(
    source: Source, convert: Converter, wanted: str, columns: Mapping[str, str] | None = None
) -> tuple[list[Row], Findings]:
    """Rows of all records that can be used, each once. Raises InputError if there is none."""
    source = by_part(source, (columns or {}).values())
    found = Findings(notes=list(source.notes), warnings=list(source.warnings))
    rows: dict[str, Row] = {}
    for place, (line, record) in enumerate(source.records):
        if isinstance(record, str):
            found.drop(line, record)
            continue
        fields = Fields(record, columns)
        found.unused.clear()
        try:
            kind, identity, row = convert(fields, found)
        except ValueError as error:
            found.drop(line, str(error))
            continue
        if identity in rows:
            leaked = place >= source.heldout and "split" in rows[identity]
            found.drop(line, "it stands among the held-out rows too" if leaked else "exact duplicate of an earlier row")
            continue
        rows[identity] = {"id": identity, **row, **({"split": "heldout"} if place < source.heldout else {})}
        found.kinds[kind] += 1
        found.ignored.update([*fields.unused(), *sorted(found.unused)])
    if not rows:
        raise unusable(source, found, wanted)
    if any("split" in row for row in rows.values()):
        found.notes.append(source.heldout_note)
    elif source.heldout:
        found.warnings.append(
            f"none of the {source.heldout} rows that are meant to be held out can be used: others are"
        )
    return list(rows.values()), found


def unusable(source: Source, found: Findings, wanted: str) -> InputError:
    """The error of a file without one row that can be used: the first reason, the fields it has, what is expected."""
    if not source.records:
        return InputError(f"{source.file} has no usable row: nothing below a header", hint=f"expected {wanted}")
    reason, count = found.dropped.most_common(1)[0]
    line = found.examples[reason][0]
    fields = f"; its fields are {listed([repr(name) for name in source.paths], 12)}" if source.columns else ""
    rows = "its only row" if len(source.records) == 1 else f"{count} of {len(source.records)} rows"
    what = f"{source.file} has no usable row: {source.unit} {line}: {reason} ({rows}){fields}"
    hint = f"expected {wanted}"
    if missing := re.fullmatch(r"no '(\w+)'", reason):
        hint += f"; where a column has another name: --column {missing[1]}=NAME"
    if reason == MORE_FIELDS:
        hint = "put quotes around cells in which the delimiter stands"
    return InputError(what, hint=hint)


def account(source: Source, rows: list[Row], found: Findings, log: EventLog) -> Audit:
    """The Audit of a file that was read, said on the log."""
    kinds = ", ".join(f"{count} as {kind}" for kind, count in found.kinds.most_common())
    labels: dict[str, int] = {}
    for row in rows:
        if isinstance(row.get("label"), str):
            labels[row["label"]] = labels.get(row["label"], 0) + 1
    audit = Audit(
        file=source.file,
        format=f"{source.format}, {kinds}",
        encoding=source.encoding,
        rows=len(source.records),
        kept=len(rows),
        dropped=dict(found.dropped.most_common()),
        examples=found.examples,
        ignored=dict(found.ignored.most_common()),
        labels=dict(sorted(labels.items(), key=lambda item: (-item[1], item[0]))),
        notes=tuple(found.notes + [f"{text}: {count} rows" for text, count in found.noted.most_common()]),
        warnings=tuple(found.warnings),
        unit=source.unit,
    )
    audit.tell(log)
    return audit


_YES = ("true", "1", "1.0", "yes", "y")
_NO = ("false", "0", "0.0", "no", "n")


def is_false(value: Any) -> bool:
    """Whether a judgement says no: false, 0, or these as text."""
    return str(value).strip().lower() in _NO


def is_judgement(value: Any) -> bool:
    """Whether a value is a yes or a no."""
    return str(value).strip().lower() in (*_YES, *_NO)
