"""Read a file of rows with line numbers, duplicates included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tutelage.finetuning.data.audit import Findings
from tutelage.finetuning.data.conversations import conversation_row
from tutelage.finetuning.data.fields import Fields
from tutelage.finetuning.data.kinds import kinds_of
from tutelage.finetuning.data.labelled import LABEL, TEXT, find_columns, labelled_row
from tutelage.finetuning.data.preferences import preference_row
from tutelage.finetuning.data.reading import Converter
from tutelage.finetuning.data.records import Source, read_records
from tutelage.finetuning.data.turns import FIELDS
from tutelage.store.errors import InputError

Kind = Literal["classify", "instruct", "prefer", "text"]
FEWEST = 20


@dataclass(frozen=True)
class FileRow:
    """One row. `text`: the text or the question; `answer`: label, answer, or chosen answer; empty for plain text.
    `rejected`: the rejected answer of a pair. `misordered`: the scores of the pair contradict its order."""

    line: int
    text: str
    answer: str = ""
    rejected: str = ""
    misordered: bool = False

    @property
    def whole(self) -> str:
        return "\n".join(part for part in (self.text, self.answer, self.rejected) if part)


@dataclass(frozen=True)
class FileRows:
    """Rows of a file, and numbers of dropped ones by reason. `unit`: line or row."""

    file: str
    kind: Kind
    unit: str
    rows: tuple[FileRow, ...]
    dropped: dict[str, int]


def read_rows(path: Path, columns: Mapping[str, str] | None = None) -> FileRows:
    """Labelled texts, questions with answers, pairs of answers, or plain texts, depending on the columns.

    Raises InputError for other files, and for less than 20 usable rows.
    """
    source = read_records(path, {*TEXT, *LABEL, *FIELDS}, columns)
    kinds = kinds_of(source, columns)
    kind: Kind = "instruct" if "instruct" in kinds and not set(columns or ()) & {"label"} else "classify"
    unnamed = len(source.columns) > 1 and all(name.isdigit() for name in source.columns)
    if not kinds and not unnamed and not set(columns or ()) & {"label", "prompt", "response"}:
        kind = "text"
    if "prefer" in kinds:
        kind = "prefer"
    rows, dropped = _converted(source, kind, columns)
    if len(rows) < FEWEST:
        reasons = "".join(f"; {count} dropped: {reason}" for reason, count in dropped.most_common(2))
        raise InputError(f"{source.file} has {len(rows)} usable rows; at least {FEWEST} are needed{reasons}")
    return FileRows(source.file, kind, source.unit, tuple(rows), dict(dropped.most_common()))


def _converted(source: Source, kind: Kind, columns: Mapping[str, str] | None) -> tuple[list[FileRow], Counter[str]]:
    by_kind = {"classify": labelled_row, "instruct": conversation_row, "prefer": preference_row, "text": None}
    convert: Converter | None = by_kind[kind]
    if kind == "classify":
        columns, _ = find_columns(source, columns or {})
    rows: list[FileRow] = []
    dropped: Counter[str] = Counter()
    for line, record in source.records:
        if isinstance(record, str):
            dropped[record] += 1
            continue
        fields, said = Fields(record, columns), Findings()
        try:
            if convert is None:
                rows.append(FileRow(line, fields.take_text(*TEXT)))
                continue
            row = convert(fields, said)[2]
        except ValueError as error:
            dropped[str(error)] += 1
            continue
        if kind == "classify":
            rows.append(FileRow(line, row["text"], row["label"]))
        elif kind == "prefer":
            asked = "\n".join(str(turn["content"]) for turn in row["messages"])
            rows.append(FileRow(line, asked, row["chosen"], row["rejected"], bool(said.noted.get("swapped"))))
        else:
            rows.append(FileRow(line, _asked(row["messages"]), row["response"]))
    return rows, dropped


def _asked(messages: list[dict[str, str]]) -> str:
    """All turns before the last answer."""
    return "\n".join(str(turn["content"]) for turn in messages[:-1])
