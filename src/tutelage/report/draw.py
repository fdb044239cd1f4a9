"""Blocks as the template needs them: charts drawn as SVG, everything else as it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from markupsafe import Markup

from tutelage.report import plots
from tutelage.store.blocks import Block, shown
from tutelage.store.format import SHOW


def drawn(blocks: Iterable[Block | None]) -> list[Block]:
    """The blocks that have something to show, their charts as figures. Raises ValueError for an unknown kind."""
    return [_drawn(block) for block in shown(blocks)]


def _drawn(block: Block) -> Block:
    kind = block["kind"]
    if kind == "fold":
        return {**block, "blocks": [_drawn(inner) for inner in block["blocks"]]}
    if kind == "lines":
        svg = plots.line_chart(
            [_line(one) for one in block["lines"]], x_label=block["x"], y_label=block["y"], title=block["title"],
            height=block["height"],
        )  # fmt: skip
    elif kind == "bars":
        svg = plots.bar_chart(
            [plots.Bar(**one) for one in block["bars"]], title=block["title"], unit=block["unit"],
            show=SHOW[block["show"]], label=block["label"],
        )  # fmt: skip
    elif kind == "strip":
        segments = [plots.Segment(**one) for one in block["segments"]]
        svg = plots.strip(segments, title=block["title"], show=SHOW[block["show"]])
    elif kind in _DRAWN_BY_THE_TEMPLATE:
        return block
    else:
        raise ValueError(f"a section holds a block of the unknown kind {kind!r}")
    return {"kind": "figure", "svg": Markup(svg), "caption": block["caption"]}


_DRAWN_BY_THE_TEMPLATE = ("prose", "heading", "notice", "facts", "table", "samples", "code", "marked")


def _line(one: dict[str, Any]) -> plots.Line:
    points = plots.smooth(one["points"]) if one["smooth"] else one["points"]
    return plots.Line(one["name"], points, one["role"])
