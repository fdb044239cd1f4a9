"""Tables in text (CSV, TSV, semicolons, pipes): delimiter, header and quoting found by stated rules, and said.

- Delimiter: the one under which the first line holds the most known column names, then the one that cuts most lines
  into the same number of fields. A first line `sep=;` (as spreadsheets write it) decides.
- Header: the first line, unless its cells stand again in their own columns or read like sentences; below lines that
  name no column where one names two (titles of exports).
- Quotes: a quoted field may span lines. A quote that does not close, or closes far below after swallowing whole rows,
  is a character like any other: that line is read literally, and named.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from tutelage.finetuning.data.audit import counted, listed
from tutelage.store.errors import InputError

DELIMITERS = {",": "CSV", "\t": "TSV", ";": "CSV with semicolons", "|": "CSV with pipes"}
MORE_FIELDS = "more fields than the header"
SAMPLE = 200  # lines from which delimiter and header are detected
LONGEST_QUOTED = 5000  # lines that one quoted field may span
_TITLES = 10  # lines within which the header is searched for
_LONG_CELL = 40  # characters; no column has such a name


@dataclass(frozen=True)
class Table:
    """(line number, fields by column name or what is wrong with the row) of every row, and how it was read."""

    format: str
    records: list[tuple[int, dict[str, str] | str]]
    notes: list[str]
    warnings: list[str]


def read_table(text: str, name: str, known: Collection[str], columns: Mapping[str, str] | None = None) -> Table:
    """Rows of a table; columns without a header are named "1", "2", ... Raises InputError where it has no row."""
    names = {*known, *(file.strip().lower() for file in (columns or {}).values())}
    lines = text.split("\n")
    first = 0
    while first < len(lines) and not lines[first].strip():
        first += 1
    stated = re.fullmatch(r"sep=(.)", lines[first].strip("\r ")) if first < len(lines) else None
    delimiter = stated[1] if stated else find_delimiter(lines[first : first + SAMPLE], names, name)
    rows, literal = parse(lines, delimiter, first + bool(stated))
    if not rows:
        raise InputError(f"{name} is empty")
    table = table_of(rows, known, columns, DELIMITERS.get(delimiter, f"table with {delimiter!r}"))
    if literal:
        places = listed([str(line) for line in literal])
        table.warnings.append(
            f"a stray quote, which closes no field, is read as text in {counted(len(literal), 'line')} (line {places})"
        )
    return table


def table_of(
    rows: list[tuple[int, list[str]]], known: Collection[str], columns: Mapping[str, str] | None, kind: str
) -> Table:
    """The table of these rows (line number, cells), at least one: its header found, what stands above it left out."""
    names = {*known, *(file.strip().lower() for file in (columns or {}).values())}
    above = _above_header([cells for _, cells in rows[:SAMPLE]], names)
    notes = (
        [f"above the header, not read: {listed([repr(_joined(cells)) for _, cells in rows[:above]])}"] if above else []
    )
    rows = rows[above:]
    # A column that is named by a number, which no cell of the first row is, says that there is no header.
    by_place = any(file.strip().isdigit() and file.strip() not in rows[0][1] for file in (columns or {}).values())
    header = not by_place and has_header([cells for _, cells in rows[:SAMPLE]], names)
    width = len(rows[0][1]) if header else Counter(len(cells) for _, cells in rows).most_common(1)[0][0]
    titles = _titles(rows[0][1]) if header else [str(number + 1) for number in range(width)]
    if not header:
        notes.append(f"it has no header: its {width} columns are named {', '.join(map(repr, titles))}")
    records: list[tuple[int, dict[str, str] | str]] = [
        # Concatenated tables repeat their header.
        (line, "the header again" if header and cells == rows[0][1] else _fields(titles, cells))
        for line, cells in rows[header:]
    ]
    return Table(kind, records, notes, [])


def _above_header(rows: list[list[str]], known: Collection[str]) -> int:
    """How many rows stand above the header, as titles of exports do: narrower ones that name no column, above one that
    names two."""

    def named(cells: list[str]) -> int:
        return sum(cell.strip().lower() in known for cell in cells)

    def filled(cells: list[str]) -> int:
        return sum(bool(cell.strip()) for cell in cells)

    for place, cells in enumerate(rows[:_TITLES]):
        if named(cells) >= 2 and all(not named(row) and filled(row) < filled(cells) for row in rows[:place]):
            return place
    return 0


def _joined(cells: list[str]) -> str:
    return " ".join(cell.strip() for cell in cells if cell.strip())[:_LONG_CELL]


def find_delimiter(lines: list[str], known: Collection[str], name: str) -> str:
    """The delimiter of these lines, the first of which is not blank; a comma if there is only one column."""
    prefer = "\t" if ".tsv" in name.lower() else ","
    best, chosen = (0, 0.0, 0), prefer
    for delimiter in sorted(DELIMITERS, key=lambda item: item != prefer):
        rows, _ = parse(lines, delimiter, 0)
        rows = rows[_above_header([cells for _, cells in rows], known) :]
        width = len(rows[0][1]) if rows else 1
        if width < 2:
            continue
        same = sum(len(cells) == width for _, cells in rows) / len(rows)
        score = (sum(cell.strip().lower() in known for cell in rows[0][1]), same, delimiter == prefer)
        if score > best and (same >= 0.5 or score[0] >= 2):
            best, chosen = score, delimiter
    return chosen


def has_header(rows: list[list[str]], known: Collection[str]) -> bool:
    """Whether the first row names the columns: by known names, unless its cells stand again below."""
    first, rest = rows[0], rows[1:]
    again = [sum(place < len(row) and row[place] == cell for row in rest) for place, cell in enumerate(first)]
    named = [cell.strip().lower() in known for cell in first]
    if any(named):
        # A value of a label column may happen to be a known name ("question"); then it stands below many times.
        return not (sum(named) == 1 and max(again) >= 2)
    return not (any(again) or any(len(cell) > _LONG_CELL or len(cell.split()) > 3 for cell in first))


def parse(lines: list[str], delimiter: str, first: int) -> tuple[list[tuple[int, list[str]]], list[int]]:
    """(line number, cells) of every row that is not blank, and the lines with a quote that was read literally."""
    source = _Lines(lines, first)
    limit = csv.field_size_limit(1 << 30)  # the module's own is 128 kB, shorter than a long document
    try:
        # `a, "b, c"`: a quote after a space opens a field, too.
        reader = csv.reader(source, delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t")
        rows: list[tuple[int, list[str]]] = []
        literal: list[int] = []
        values: list[set[str]] = []
        while True:
            start = source.restart()
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error:
                cells = None
            if cells is None or (source.at - start > 1 and _swallowed(cells, delimiter, values)):
                source.at = start + 1
                literal.append(start + 1)
                cells = lines[start].split(delimiter)
            if any(cell.strip() for cell in cells):
                rows.append((start + 1, cells))
                values += [set() for _ in cells[len(values) :]]
                for seen, cell in zip(values, cells, strict=False):
                    if len(cell) <= _LONG_CELL and len(seen) < 10_000:
                        seen.add(cell.strip())
    finally:
        csv.field_size_limit(limit)
    return rows, literal


class _Lines(Iterator[str]):
    """Lines from a place on, which can be set back after a row that could not be read."""

    def __init__(self, lines: list[str], at: int) -> None:
        self.lines, self.at, self.start = lines, at, at

    def restart(self) -> int:
        self.start = self.at
        return self.at

    def __next__(self) -> str:
        if self.at >= len(self.lines):
            raise StopIteration
        if self.at - self.start > LONGEST_QUOTED:
            raise csv.Error("a quoted field spans too many lines")
        self.at += 1
        # The last line has no newline: with one, the reader would not notice a quote that is open at the end.
        return self.lines[self.at - 1] + ("\n" if self.at < len(self.lines) else "")


def _swallowed(cells: list[str], delimiter: str, values: list[set[str]]) -> bool:
    """Whether a cell of several lines holds whole rows: each of its inner lines reads like a row of this table.

    Like a row: as many delimiters, and (where a delimiter may well stand in prose) a cell known from its column, or
    three such lines in a row.
    """
    for cell in cells:
        inner = [line.split(delimiter) for line in cell.split("\n")[1:]]
        if not inner or len(cells) < 2 or any(len(parts) != len(cells) for parts in inner):
            continue
        familiar = any(
            all(parts[place].strip() in seen for parts in inner if place < len(parts)) and seen
            for place, seen in enumerate(values)
        )
        if delimiter == "\t" or familiar or len(inner) >= 3:
            return True
    return False


def _titles(cells: list[str]) -> list[str]:
    """Column names, each different: an empty one is named by its place, a repeated one is numbered."""
    titles: list[str] = []
    for place, cell in enumerate(cells, start=1):
        title = cell.strip() or f"(column {place})"
        count = sum(earlier.lower() == title.lower() for earlier in titles)
        titles.append(f"{title} ({place})" if count else title)
    return titles


def _fields(titles: list[str], cells: list[str]) -> dict[str, str] | str:
    if len(cells) > len(titles):
        return MORE_FIELDS
    if any("\x1a" in cell for cell in cells):
        return "it has a NUL character: it is damaged"
    if any("\ufffd" in cell for cell in cells):
        return "not UTF-8"
    return dict(zip(titles, cells, strict=False))
