"""Spreadsheets (.xlsx, .xls, .ods) as tables: the sheet that holds the rows, or one sheet for each split.

Cells become text: 5.0 is "5", a date is written as ISO 8601 does. Formulas count by the value that was saved with them.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from datetime import date, datetime, time
from typing import Any

from tutelage.finetuning.data.audit import listed
from tutelage.finetuning.data.folder import PARTS
from tutelage.finetuning.data.tables import Table, table_of
from tutelage.store.errors import InputError
from tutelage.store.text import reason

SHEETS = (".xlsx", ".xlsm", ".xls", ".ods")
_NEEDED = "pip install 'tutelage[documents]', or save it as .csv"
Rows = list[tuple[int, list[str]]]


def read_sheets(data: bytes, name: str, known: Collection[str], columns: Mapping[str, str] | None = None) -> Table:
    """Rows of a spreadsheet. Raises InputError where it cannot be read, has no row, or the library is missing."""
    try:
        from python_calamine import CalamineError, CalamineWorkbook  # late: an extra
    except ImportError:
        raise InputError(f"{name} needs the package python-calamine", hint=_NEEDED) from None
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
        sheets = {title: _filled(book.get_sheet_by_name(title).to_python(skip_empty_area=False))
                  for title in book.sheet_names}  # fmt: skip
    except CalamineError as error:
        raise InputError(f"{name} cannot be read as a spreadsheet: {reason(error)}") from None
    sheets = {title: rows for title, rows in sheets.items() if rows}
    if not sheets:
        raise InputError(f"{name} is empty")
    parts = [title for title in sheets if title.strip().lower() in PARTS]
    if len(parts) > 1 and any(PARTS[title.strip().lower()] == "train" for title in parts):
        return _of_splits({title: sheets[title] for title in parts}, list(sheets), known, columns)
    names = {*known, *(file.strip().lower() for file in (columns or {}).values())}

    def fitting(title: str) -> int:
        return max(sum(cell.strip().lower() in names for cell in cells) for _, cells in sheets[title][:10])

    chosen = max(sheets, key=fitting)  # the first of equals
    table = table_of(sheets[chosen], known, columns, "spreadsheet")
    return Table(table.format, table.records, [*_unread(list(sheets), [chosen]), *table.notes], table.warnings)


def _of_splits(
    sheets: Mapping[str, Rows], titles: list[str], known: Collection[str], columns: Mapping[str, str] | None
) -> Table:
    """The sheets of a training and a held-out split as one table, whose column `split` says which is which."""
    records: list[tuple[int, dict[str, str] | str]] = []
    notes, warnings = _unread(titles, list(sheets)), []
    for title, rows in sheets.items():
        table = table_of(rows, known, columns, "spreadsheet")
        records += [(n, row if isinstance(row, str) else {"split": title, **row}) for n, row in table.records]
        notes += [f"sheet {title!r}: {note}" for note in table.notes]
        warnings += [f"sheet {title!r}: {warning}" for warning in table.warnings]
    return Table("spreadsheet", records, notes, warnings)


def _unread(titles: list[str], read: list[str]) -> list[str]:
    if len(titles) == 1:
        return []
    others = [title for title in titles if title not in read]
    left = f"; not read: {listed(map(repr, others))}" if others else ""
    return [f"read of its sheets: {listed(map(repr, read))}{left}"]


def _filled(cells: list[list[Any]]) -> Rows:
    """(row number from 1, cells as text) of the rows that are not blank, without blank columns at the right."""
    rows = [(number, [_text(cell) for cell in row]) for number, row in enumerate(cells, 1)]
    rows = [(number, row) for number, row in rows if any(cell.strip() for cell in row)]
    width = max((place for _, row in rows for place, cell in enumerate(row, 1) if cell.strip()), default=0)
    return [(number, row[:width]) for number, row in rows]


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else repr(cell)
    if isinstance(cell, datetime):
        return cell.isoformat(" ")
    if isinstance(cell, (date, time)):
        return cell.isoformat()
    return str(cell)
