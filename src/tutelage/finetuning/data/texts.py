"""Texts to be classified, from a file: the lines of a text file, or one column of a table."""

from __future__ import annotations

from pathlib import Path

from tutelage.finetuning.data.audit import listed
from tutelage.finetuning.data.fields import text_of
from tutelage.finetuning.data.labelled import PAIRS, TEXT, text_columns
from tutelage.finetuning.data.records import read_records
from tutelage.finetuning.data.sheets import SHEETS
from tutelage.store.errors import InputError, nearest
from tutelage.store.text import read_text, without_compression

TABLES = (".csv", ".tsv", ".psv", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow", *SHEETS)


def read_texts(path: Path, column: str | None = None) -> list[str]:
    """Every text of a file, in its order: lines of a .txt that are not blank, or a table's column.

    The column is found by its usual name where none is given; of a pair of columns (premise, hypothesis) both are
    joined by a line break, as in training. Raises InputError with the line where a text is missing: an answer for each
    row is expected, so that none may be dropped.
    """
    if not without_compression(path.name).endswith(TABLES) and column is None:
        texts = [line.strip() for line in read_text(path).text.split("\n") if line.strip()]
        if not texts:
            raise InputError(f"{path.name} is empty")
        return texts
    source = read_records(path, {*TEXT, *(name for pair in PAIRS for name in pair)}, {"text": column} if column else {})
    there = {name.strip().lower(): name for name in source.columns}
    if column is not None:
        if column.strip().lower() not in there:
            raise InputError(f"{path.name} has no column {column!r}", hint=nearest(column, source.columns))
        names = [there[column.strip().lower()]]
    else:
        names = text_columns(source.columns) or (source.columns if len(source.columns) == 1 else [])
        if not names:
            shown = listed([repr(name) for name in source.paths], 12)
            what = f"{path.name}: which column is the text cannot be told from {shown}"
            raise InputError(what, hint="name it: --column text=NAME")
    texts = []
    for line, record in source.records:
        try:
            if isinstance(record, str):
                raise ValueError(record)
            texts.append("\n".join(text_of(record.get(name), name) for name in names))
        except ValueError as error:
            raise InputError(f"{path.name}, {source.unit} {line}: {error}", hint="mend or remove the row") from None
    return texts
