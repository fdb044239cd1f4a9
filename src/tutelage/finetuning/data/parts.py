"""Rows that say which split they belong to: test rows (else validation rows) come first and are held out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tutelage.finetuning.data.fields import is_empty
from tutelage.finetuning.data.folder import PARTS, Part
from tutelage.finetuning.data.records import Source

COLUMNS = ("split", "subset", "partition", "set", "dataset_split")


def by_part(source: Source, named: Collection[str] = ()) -> Source:
    """The source with its held-out rows first, where a column says `train` of some rows and `test` or `validation` of
    others; any other source as it is. `named`: columns that the user wants for something else.

    Validation rows are not used where there are test rows, and are dropped with that reason.
    """
    name = next((name for name in source.columns if name.strip().lower() in COLUMNS and name not in named), None)
    if source.heldout or name is None:
        return source
    parts = [PARTS.get(str(row.get(name)).strip().lower()) for row in source.rows]
    if None in parts or "train" not in parts or len(set(parts)) < 2:
        return source
    rows_of: dict[Part, list[tuple[int, Any]]] = {"test": [], "validation": [], "train": []}
    unread = []
    for line, record in source.records:
        if isinstance(record, str):
            unread.append((line, record))
        else:
            rest = {key: value for key, value in record.items() if key != name}
            rows_of[PARTS[str(record[name]).strip().lower()]].append((line, rest))
    held: Part = "test" if rows_of["test"] else "validation"
    left: Part | None = "validation" if held == "test" and rows_of["validation"] else None
    if left and _lacks_values(rows_of["test"], rows_of["train"]):  # published test rows may come without their labels
        held, left = left, held
    why = f"{name!r} says {left!r}, and the rows of {held!r} are held out"
    unused = [(line, why) for line, _ in rows_of[left]] if left else []
    note = f"the {len(rows_of[held])} rows of {held!r} are held out, as {name!r} says, and no others"
    records = [*rows_of[held], *rows_of["train"], *unused, *unread]
    return replace(source, records=records, heldout=len(rows_of[held]), heldout_note=note)


def _lacks_values(
    some: Sequence[tuple[int, Mapping[str, Any]]], others: Sequence[tuple[int, Mapping[str, Any]]]
) -> bool:
    """Whether the first rows have nothing in a column that is filled in the others."""
    filled = [{key for _, row in rows for key, value in row.items() if not is_empty(value)} for rows in (some, others)]
    return bool(filled[1] - filled[0])
