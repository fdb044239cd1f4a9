"""Inline SVG charts as pure functions: data in, markup out. No script, no library, colours by CSS variables.

One convention throughout: the accent colour is the model we made, grey is what it is compared with.
Hovering a mark shows its value (SVG `<title>`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from tutelage.store.format import MINUS, number

Role = Literal["accent", "ink", "quiet"]
Point = tuple[float, float]
_WIDTH = 860
_CHAR = 6.5  # mean advance of a character at 12 px: enough to place labels without measuring fonts


@dataclass(frozen=True)
class Line:
    """A curve. `quiet` lines are drawn thin and pale behind the others and carry no hover marks."""

    name: str
    points: Sequence[Point]
    role: Role = "accent"


@dataclass(frozen=True)
class Bar:
    """A bar with an optional interval, and an optional `ghost` value drawn as an outline (before, forecast)."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    role: Role = "ink"
    note: str = ""
    ghost: float | None = None


@dataclass(frozen=True)
class Segment:
    """A piece of a strip, as wide as its share of the total."""

    name: str
    value: float
    role: Role = "ink"
    note: str = ""


def ticks(low: float, high: float, about: int = 5, least: float = 0.0) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten) within [low, high], at least `least` apart."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    rough = max((high - low) / max(1, about), least)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    decimals = max(0, -math.floor(math.log10(step)))
    return [round(index * step, decimals) for index in range(first, last + 1)]


def labelled(values: Sequence[float]) -> list[tuple[float, str]]:
    """Ticks with their labels, all with as many decimals as the finest needs."""
    decimals = max((len(f"{value:.6f}".rstrip("0").split(".")[1]) for value in values), default=0)
    return [(value, f"{value:,.{decimals}f}".replace("-", MINUS)) for value in values]


def smooth(points: Sequence[Point], share: float = 0.04) -> list[Point]:
    """Centred mean over `share` of the curve's points; the window narrows towards both ends, so no lag."""
    reach, sums, out = max(1, round(share * len(points) / 2)), [0.0], []
    for _, y in points:
        sums.append(sums[-1] + y)
    for index, (x, _) in enumerate(points):
        near = min(reach, index, len(points) - 1 - index)
        out.append((x, (sums[index + near + 1] - sums[index - near]) / (2 * near + 1)))
    return out


def thin(points: Sequence[Point], most: int) -> list[Point]:
    """At most `most` of the points, evenly chosen, the last one always among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(index * (len(points) - 1) / (most - 1))] for index in range(most)]


def line_chart(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    title: str,
    references: Sequence[tuple[str, float]] = (),
    height: int = 320,
) -> str:
    """Curves over a shared x axis; `references` are named horizontal levels. Empty string without points."""
    drawn = [Line(line.name, _finite(line.points), line.role) for line in lines]
    drawn = [line for line in drawn if line.points]
    if not drawn:
        return ""
    left, right, top, bottom = 56, 150 if references else 20, 40, 46
    xs = [x for line in drawn for x, _ in line.points]
    levels = [level for _, level in references if math.isfinite(level)]
    x_low, x_high = _spread(min(xs), max(xs))
    ys = sorted(y for line in drawn for _, y in line.points)
    y_low, y_high = _spread(min([ys[0], *levels]), max([ys[-1], *levels]))
    y_low, y_high = y_low - 0.03 * (y_high - y_low), y_high + 0.05 * (y_high - y_low)

    def at_x(x: float) -> float:
        return left + (x - x_low) / (x_high - x_low) * (_WIDTH - left - right)

    def at_y(y: float) -> float:
        return height - bottom - (y - y_low) / (y_high - y_low) * (height - top - bottom)

    parts = []
    for y, name in labelled(ticks(y_low, y_high)):
        parts.append(f'<path class="grid" d="M{left} {at_y(y):.1f}H{_WIDTH - right}"/>')
        parts.append(_text(left - 10, at_y(y) + 4, name, "end"))
    whole = all(x == round(x) for x in xs)  # there is no half of a step
    for x, name in labelled(ticks(x_low, x_high, 7, least=1.0 if whole else 0.0)):
        parts.append(f'<path class="tick" d="M{at_x(x):.1f} {height - bottom}v5"/>')
        parts.append(_text(at_x(x), height - bottom + 19, name, "middle"))
    parts.append(f'<path class="axis" d="M{left} {height - bottom}H{_WIDTH - right}"/>')
    parts.append(_text(_WIDTH - right, height - 8, x_label, "end", "label"))
    parts.append(_text(0, 12, y_label, "start", "label"))
    labels = spaced([at_y(level) for _, level in references], 15, top, height - bottom)
    for (name, level), label_y in zip(references, labels, strict=True):
        parts.append(f'<path class="reference" d="M{left} {at_y(level):.1f}H{_WIDTH - right}"/>')
        parts.append(_text(_WIDTH - right + 8, label_y + 4, f"{name} {number(level)}", "start"))
    for line in sorted(drawn, key=lambda line: line.role != "quiet"):
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in thin(line.points, 600))
        parts.append(f'<polyline class="line {line.role}" points="{path}"/>')
        if line.role == "quiet":
            continue
        if len(line.points) == 1:  # a line of one point has no length: it would not be seen
            x, y = line.points[0]
            parts.append(f'<circle class="point {line.role}" cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="4"/>')
        for x, y in thin(line.points, 80):
            tip = f"{line.name}: {number(y, 4)} at {x_label} {number(x)}"
            parts.append(f'<circle class="dot {line.role}" cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="6">')
            parts.append(f"<title>{escape(tip)}</title></circle>")
    parts.append(_legend(drawn, left, 30))
    return _svg(title, height, parts)


def bar_chart(
    bars: Sequence[Bar], *, title: str, unit: str = "", show: Callable[[float], str] = number, label: int = 220
) -> str:
    """Horizontal bars from zero, whiskers where an interval is given, values next to them."""
    rows = [bar for bar in bars if bar.value is not None and math.isfinite(bar.value)]
    if not rows:
        return ""
    row, top, right = 30, 6, 150
    bottom = 26 if unit else 8
    height = top + row * len(rows) + bottom
    reach = [value for bar in rows for value in (bar.value, bar.high, bar.low, bar.ghost) if value is not None]
    low, high = min(0.0, *reach), max(0.0, *reach)
    high = high if high > low else low + 1.0

    def at(value: float) -> float:
        return label + (value - low) / (high - low) * (_WIDTH - label - right)

    parts = []
    for index, bar in enumerate(rows):
        value = bar.value or 0.0
        y = top + row * index
        middle = y + row / 2
        tip = f"{bar.name}: {show(value)}" + (f" {unit}" if unit else "")
        if bar.low is not None and bar.high is not None:
            tip += f", interval {show(bar.low)} to {show(bar.high)}"
        parts.append(f"<g><title>{escape(tip)}</title>")
        parts.append(_text(label - 12, middle + 4, _cut(bar.name, label - 14), "end", f"name {bar.role}"))
        if bar.ghost is not None:
            x, width = _extent(at(0), at(bar.ghost))
            parts.append(f'<rect class="ghost" x="{x}" y="{y + 4.5}" width="{width}" height="{row - 9}"/>')
        x, width = _extent(at(0), at(value))
        parts.append(f'<rect class="bar {bar.role}" x="{x}" y="{y + 7}" width="{width}" height="{row - 14}"/>')
        end = max(at(value), at(0), at(bar.ghost) if bar.ghost is not None else 0)
        if bar.low is not None and bar.high is not None:
            a, b = at(bar.low), at(bar.high)
            path = f"M{a:.1f} {middle}H{b:.1f}M{a:.1f} {middle - 4}v8M{b:.1f} {middle - 4}v8"
            parts.append(f'<path class="halo" d="{path}"/><path class="whisker" d="{path}"/>')
            end = max(end, b)
        shown = f'<tspan class="value {bar.role}">{escape(show(value))}</tspan>'
        note = f'<tspan class="note" dx="8">{escape(_cut(bar.note, _WIDTH - end - 60))}</tspan>' if bar.note else ""
        parts.append(f'<text x="{end + 9:.1f}" y="{middle + 4}">{shown}{note}</text></g>')
    parts.append(f'<path class="axis" d="M{at(0):.1f} {top}v{row * len(rows)}"/>')
    if unit:
        parts.append(_text(at(0), height - 6, unit, "start", "label"))
    return _svg(title, height, parts)


def strip(segments: Sequence[Segment], *, title: str, show: Callable[[float], str] = number) -> str:
    """One bar cut into parts, each labelled below as far as there is room."""
    rows = [segment for segment in segments if segment.value > 0]
    total = sum(segment.value for segment in rows)
    if not rows:
        return ""
    gap, x, free, parts = 2.0, 0.0, -1.0, []
    scale = (_WIDTH - gap * (len(rows) - 1)) / total
    for segment in rows:
        width = max(1.5, segment.value * scale)
        tip = f"{segment.name}: {show(segment.value)}" + (f" ({segment.note})" if segment.note else "")
        parts.append(f"<g><title>{escape(tip)}</title>")
        parts.append(f'<rect class="bar {segment.role}" x="{x:.1f}" y="0" width="{width:.1f}" height="22"/>')
        need = _CHAR * max(len(segment.name), len(show(segment.value)))
        if x >= free and width >= need * 0.9:
            parts.append(_text(x, 40, segment.name, "start", "name"))
            parts.append(_text(x, 56, show(segment.value), "start"))
            free = x + need
        parts.append("</g>")
        x += width + gap
    return _svg(title, 62, parts)


def spaced(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, at least `gap` apart and, where possible, within [low, high]."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = [0.0] * len(wanted)
    previous = low - gap
    for index in order:
        previous = max(wanted[index], previous + gap)
        placed[index] = previous
    following = high + gap
    for index in reversed(order):
        following = min(placed[index], following - gap)
        placed[index] = following
    return placed


def _legend(lines: Sequence[Line], x: float, y: float) -> str:
    parts = []
    for line in lines:
        if not line.name:
            continue
        parts.append(f'<path class="line {line.role}" d="M{x:.0f} {y - 4}h18"/>')
        parts.append(_text(x + 25, y, line.name, "start"))
        x += 25 + _CHAR * len(line.name) + 24
    return "".join(parts)


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    head = f'<svg class="plot" viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
    return head + "".join(parts) + "</svg>"


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _extent(a: float, b: float) -> tuple[str, str]:
    return f"{min(a, b):.1f}", f"{max(0.8, abs(b - a)):.1f}"


def _cut(text: str, width: float) -> str:
    most = max(4, int(width / _CHAR))
    return text if len(text) <= most else text[: most - 1] + "…"


def _finite(points: Sequence[Point]) -> list[Point]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _spread(low: float, high: float) -> Point:
    return (low, high) if high > low else (low - 0.5, high + 0.5)
