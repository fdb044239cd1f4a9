"""What a section is made of: plain dicts that the template draws. All text is escaped there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from markupsafe import Markup

from tutelage.report.format import NONE, duration, is_number, number, percent, size, words

Block = dict[str, Any]
Cell = str | dict[str, str]


def prose(text: str) -> Block:
    return {"kind": "prose", "text": text}


def heading(text: str) -> Block:
    return {"kind": "heading", "text": text}


def notice(text: str, level: str = "note") -> Block:
    """A sentence that must not be overlooked: a skipped stage, a failure, a warning."""
    return {"kind": "notice", "text": text, "level": level}


def facts(pairs: Iterable[tuple[str, str]]) -> Block:
    """Name and value side by side; pairs without a value are left out."""
    return {"kind": "facts", "pairs": [(name, value) for name, value in pairs if value not in ("", NONE)]}


def figure(svg: str, caption: str) -> Block:
    """A chart made by `plots`, which escapes what it draws."""
    return {"kind": "figure", "svg": Markup(svg), "caption": caption}


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str = "") -> Block:
    """Rows of text; a column whose name ends in '#' is numeric and set flush right."""
    return {
        "kind": "table",
        "columns": [name.rstrip("#") for name in columns],
        "numeric": [name.endswith("#") for name in columns],
        "rows": [list(row) for row in rows],
        "caption": caption,
    }


def fold(summary: str, blocks: Sequence[Block]) -> Block:
    return {"kind": "fold", "summary": summary, "blocks": list(blocks)}


def samples(rows: Sequence[Block]) -> Block:
    """Rows {"prompt", "answers": [(who, text, role)]}: untrusted text, shown as it is."""
    return {"kind": "samples", "rows": list(rows)}


def code(text: str) -> Block:
    return {"kind": "code", "text": text}


def mark(text: str, verdict: str) -> Cell:
    """A table cell that carries a verdict: better, worse or 'not resolved'."""
    return {"text": text, "mark": verdict.replace(" ", "-")}


def shown(blocks: Iterable[Block | None]) -> list[Block]:
    """The blocks that have something to show."""
    return [block for block in blocks if block is not None and not _empty(block)]


def _empty(block: Block) -> bool:
    content = {"figure": "svg", "table": "rows", "facts": "pairs", "fold": "blocks", "samples": "rows", "code": "text"}
    return not block[content.get(block["kind"], "text")]


def records_table(records: Sequence[dict[str, Any]], caption: str = "") -> Block:
    """Plain records of unknown keys as a table: numbers right, nested values left out."""
    flat = [{key: value for key, value in row.items() if not isinstance(value, (dict, list))} for row in records]
    keys = list(dict.fromkeys(key for row in flat for key in row))
    numeric = {key: all(is_number(row.get(key, 0)) for row in flat) for key in keys}
    columns = [words(key).capitalize() + ("#" if numeric[key] else "") for key in keys]
    return table(columns, [[value_text(row.get(key), key) for key in keys] for row in flat], caption)


def value_text(value: Any, key: str = "") -> str:
    """A value as text; the unit is told by how its key ends."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if is_number(value):
        for ending, show in _UNITS:
            if key.lower().endswith(ending):
                return show(value)
    return number(value) if is_number(value) or value is None else str(value)


_UNITS: tuple[tuple[str, Callable[[Any], str]], ...] = (
    ("bits_per_byte", lambda value: f"{value:.3f}"),
    ("seconds", duration),
    ("share", percent),
    ("bytes", size),
)
