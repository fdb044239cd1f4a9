"""Rows of CSV and TSV files. A quote that is never closed costs its own line, not the rest of the file."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any, Literal

from tutelage.corpus.document import Malformed

_DELIMITERS = (",", ";", "\t", "|")
_LONGEST_FIELD = 1 << 27  # the default of the csv module, 128 kB, is less than a book
_MOST_LINES = 1000  # that one quoted field may go over; more is a quote that nobody closed


def table_rows(text: str, name: str, tabs: bool) -> Iterator[tuple[int, dict[str, Any] | Malformed]]:
    """(line from 1, row by column name or what is wrong with it); the first line names the columns.

    The delimiter is the tab for TSV, else whichever of `, ; tab |` the first line has most of. In a TSV whose
    every line has as many tabs as the first, quotes are plain characters.
    """
    head = text.split("\n", 1)[0]
    delimiter = "\t" if tabs else max(_DELIMITERS, key=head.count)
    plain = tabs and len({line.count("\t") for line in text.split("\n") if line}) == 1
    lines = _Lines(text)
    columns: list[str] | None = None
    for number, record in _records(lines, delimiter, plain):
        if isinstance(record, str):
            yield number, Malformed(name, number, record)
        elif columns is None:
            columns = [column.strip() for column in record]
        elif not any(record):
            continue
        elif len(record) > len(columns):
            why = f"{len(record)} fields under {len(columns)} columns"
            yield number, Malformed(name, number, why)
        else:
            yield number, dict(zip(columns, record, strict=False))


def table_columns(text: str, tabs: bool) -> list[str]:
    """Names in the first line."""
    for _, record in _records(
        _Lines(text), "\t" if tabs else max(_DELIMITERS, key=text.split("\n", 1)[0].count), False
    ):
        return [] if isinstance(record, str) else [column.strip() for column in record]
    return []


class _Lines:
    """Lines of a text, one at a time and without a copy of all, that can be set back to an earlier line."""

    def __init__(self, text: str) -> None:
        self.text, self.place, self.number = text, 0, 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self.place >= len(self.text):
            raise StopIteration
        end = self.text.find("\n", self.place) + 1 or len(self.text)
        line = self.text[self.place : end]
        self.place, self.number = end, self.number + 1
        return line


def _records(lines: _Lines, delimiter: str, plain: bool) -> Iterator[tuple[int, list[str] | str]]:
    """(line on which it begins, fields, or what is wrong). After a fault, reading starts again on the next line."""
    csv.field_size_limit(_LONGEST_FIELD)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
    while True:
        reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=not plain)
        try:
            while True:
                begin, number = lines.place, lines.number
                record = next(reader)
                if lines.number - number > _MOST_LINES:
                    raise csv.Error(f"a quoted field goes over more than {_MOST_LINES} lines")
                yield number + 1, [_unquoted(field) for field in record] if plain else record
        except StopIteration:
            return
        except csv.Error as error:
            yield number + 1, f"{error} (a quote that is not closed or not doubled?)"
            lines.place, lines.number = begin, number
            next(lines)


def _unquoted(field: str) -> str:
    if len(field) > 1 and field[0] == field[-1] == '"':
        return field[1:-1].replace('""', '"')
    return field
