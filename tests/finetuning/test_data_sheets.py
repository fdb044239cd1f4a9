"""Spreadsheets: the sheet that holds the rows, splits in sheets of their own, titles above the header, dates."""

from __future__ import annotations

import io
import zipfile
from xml.sax.saxutils import escape

import pytest

from tutelage.finetuning.data import read_labelled
from tutelage.finetuning.data.tables import read_table
from tutelage.store.errors import InputError

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
ROWS = [(f"The lamp {n} is {'fine' if n % 2 else 'bad'}", n % 2) for n in range(8)]


def book(**sheets) -> bytes:
    """A workbook of these sheets: texts inline, numbers as numbers, ("date", serial) as a date."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        names = "".join(f'<sheet name="{t}" sheetId="{n}" r:id="r{n}"/>' for n, t in enumerate(sheets, 1))
        links = "".join(
            f'<Relationship Id="r{n}" Type="{_LINKS}/worksheet" Target="worksheets/s{n}.xml"/>'
            for n, _ in enumerate(sheets, 1)
        )
        links += f'<Relationship Id="r0" Type="{_LINKS}/styles" Target="styles.xml"/>'
        root = f'<Relationship Id="r1" Type="{_LINKS}/officeDocument" Target="xl/workbook.xml"/>'
        archive.writestr("_rels/.rels", f'{_HEAD}<Relationships xmlns="{_PACKAGE}">{root}</Relationships>')
        archive.writestr(
            "xl/workbook.xml",
            f'{_HEAD}<workbook xmlns="{_MAIN}" xmlns:r="{_LINKS}"><sheets>{names}</sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels", f'{_HEAD}<Relationships xmlns="{_PACKAGE}">{links}</Relationships>'
        )
        formats = '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/></cellXfs>'
        archive.writestr("xl/styles.xml", f'{_HEAD}<styleSheet xmlns="{_MAIN}">{formats}</styleSheet>')
        for n, rows in enumerate(sheets.values(), 1):
            body = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in rows)
            archive.writestr(
                f"xl/worksheets/s{n}.xml",
                f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetData>{body}</sheetData></worksheet>',
            )
    return file.getvalue()


def _cell(value):
    if isinstance(value, tuple):
        return f'<c s="1"><v>{value[1]}</v></c>'
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f"<c><v>{value}</v></c>"


def read(tmp_path, heard, data):
    pytest.importorskip("python_calamine")
    path = tmp_path / "tickets.xlsx"
    path.write_bytes(data)
    return read_labelled(path, heard.log)


def test_the_sheet_with_the_rows_is_read_and_the_others_named(tmp_path, heard):
    told = [["Export of tickets"], [], ["text", "label", "when"], *[[*row, ("date", 45000)] for row in ROWS]]
    rows, audit = read(tmp_path, heard, book(About=[["made by us"]], Tickets=told))
    assert [row["label"] for row in rows] == ["0", "1"] * 4  # a number of a cell is a float: 1.0 is "1"
    assert "read of its sheets: 'Tickets'; not read: 'About'" in audit.notes
    assert "above the header, not read: 'Export of tickets'" in audit.notes
    assert audit.ignored == {"when": 8}


def test_sheets_named_as_splits(tmp_path, heard):
    header = ["text", "label"]
    rows, _ = read(tmp_path, heard, book(train=[header, *ROWS[:6]], test=[header, *ROWS[6:]]))
    assert [row["text"] for row in rows if row.get("split") == "heldout"] == [text for text, _ in ROWS[6:]]


def test_a_date_is_written_as_iso_8601(tmp_path, heard):
    days = [["text", "label"], *[[text, ("date", 45000 + n % 2)] for n, (text, _) in enumerate(ROWS)]]
    rows, _ = read(tmp_path, heard, book(Sheet=days))
    assert {row["label"] for row in rows} == {"2023-03-15", "2023-03-16"}


def test_a_damaged_spreadsheet_is_one_clear_error(tmp_path, heard):
    with pytest.raises(InputError, match="cannot be read as a spreadsheet"):
        read(tmp_path, heard, book(a=[["text", "label"]])[:200])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_titles_above_the_header_of_a_table(delimiter):
    lines = ["Export of 2024", "", delimiter.join(("text", "label")), *[f"{t}{delimiter}{n}" for t, n in ROWS]]
    table = read_table("\n".join(lines), "x.csv", {"text", "label"})
    assert len(table.records) == 8 and table.records[0] == (4, {"text": ROWS[0][0], "label": "0"})
    assert table.notes == ["above the header, not read: 'Export of 2024'"]


def test_a_row_below_that_happens_to_be_names_is_no_header():
    table = read_table("good\tpos\ntext\tlabel\nbad\tpos\nbad\tneg", "x.tsv", {"text", "label"})
    assert [line for line, _ in table.records] == [1, 2, 3, 4] and "above" not in table.notes[0]
