"""What a section of a report is made of: plain dicts, which `report` draws. All text is escaped there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from tutelage.store.format import NONE, SHOW, duration, is_number, number, percent, size, words

Block = dict[str, Any]
Cell = str | dict[str, str]
Role = Literal["accent", "ink", "quiet"]  # accent: what this life made; ink: what it is compared with; quiet: behind
Point = tuple[float, float]


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


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str = "") -> Block:
    """Rows of text; a column whose name ends in '#' is numeric and set flush right."""
    return {
        "kind": "table",
        "columns": [name.rstrip("#") for name in columns],
        "numeric": [name.endswith("#") for name in columns],
        "rows": [list(row) for row in rows],
        "caption": caption,
    }


def fold(summary: str, blocks: Iterable[Block | None]) -> Block:
    return {"kind": "fold", "summary": summary, "blocks": shown(blocks)}


def samples(rows: Sequence[Block]) -> Block:
    """Rows {"prompt", "answers": [(who, text, role)]}: untrusted text, shown verbatim."""
    return {"kind": "samples", "rows": list(rows)}


def code(text: str) -> Block:
    return {"kind": "code", "text": text}


def marked(runs: Iterable[tuple[str, bool]]) -> Block:
    """Untrusted text, shown verbatim, with some runs highlighted."""
    return {"kind": "marked", "runs": [(text, bool(stands_out)) for text, stands_out in runs]}


def line(name: str, points: Sequence[Point], role: Role = "accent", smooth: bool = False) -> Block:
    """A curve of a line chart. A quiet one is drawn pale behind the others; `smooth`: as its running mean."""
    return {"name": name, "points": list(points), "role": role, "smooth": smooth}


def line_chart(lines: Sequence[Block], *, x: str, y: str, title: str, caption: str, height: int = 300) -> Block:
    """Curves over one x axis; those without a point are left out."""
    kept = [one for one in lines if one["points"]]
    return {"kind": "lines", "lines": kept, "x": x, "y": y, "title": title, "caption": caption, "height": height}


def bar(
    name: str,
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    *,
    role: Role = "ink",
    note: str = "",
    ghost: float | None = None,
) -> Block:
    """A bar with an optional interval, and an optional `ghost` value drawn as an outline (before, forecast)."""
    return {"name": name, "value": value, "low": low, "high": high, "role": role, "note": note, "ghost": ghost}


def bar_chart(
    bars: Sequence[Block], *, title: str, caption: str, unit: str = "", show: str = "number", label: int = 220
) -> Block:
    """Horizontal bars from zero. `show`: how values are written, a name of `format.SHOW`."""
    assert show in SHOW, show
    kept = [one for one in bars if is_number(one["value"])]
    return {
        "kind": "bars",
        "bars": kept,
        "title": title,
        "caption": caption,
        "unit": unit,
        "show": show,
        "label": label,
    }


def segment(name: str, value: float, role: Role = "ink", note: str = "") -> Block:
    return {"name": name, "value": value, "role": role, "note": note}


def strip(segments: Sequence[Block], *, title: str, caption: str = "", show: str = "number") -> Block:
    """A bar divided into parts, as wide as their shares."""
    assert show in SHOW, show
    kept = [one for one in segments if one["value"] > 0]
    return {"kind": "strip", "segments": kept, "title": title, "caption": caption, "show": show}


def mark(text: str, verdict: str, sub: str = "") -> Cell:
    """A table cell that carries a verdict: better, worse, 'not resolved' ...; `sub` is a remark below it."""
    return {"text": text, "mark": verdict.replace(" ", "-"), "sub": sub}


_CONTENT = {"table": "rows", "facts": "pairs", "fold": "blocks", "samples": "rows", "lines": "lines", "bars": "bars",
            "strip": "segments", "marked": "runs"}  # fmt: skip


def shown(blocks: Iterable[Block | None]) -> list[Block]:
    """The blocks that have something to show."""
    return [block for block in blocks if block is not None and block[_CONTENT.get(block["kind"], "text")]]


def records_table(records: Sequence[Mapping[str, Any]], caption: str = "") -> Block:
    """Plain records of unknown keys as a table: numbers right, nested values left out."""
    flat = [{key: value for key, value in row.items() if not isinstance(value, (dict, list))} for row in records]
    keys = list(dict.fromkeys(key for row in flat for key in row))
    numeric = {key: all(is_number(row.get(key, 0)) for row in flat) for key in keys}
    columns = [words(key).capitalize() + ("#" if numeric[key] else "") for key in keys]
    return table(columns, [[value_text(row.get(key), key) for key in keys] for row in flat], caption)


def value_text(value: Any, key: str = "") -> str:
    """A value as text; the unit follows from the suffix of its key."""
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
