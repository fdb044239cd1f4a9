"""`ladder.html` and `ladder.json`: a ladder's runs, its laws and what they mean, next to the ladder's runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tutelage.ablation.law import Findings, plain, sentences
from tutelage.report.page import page
from tutelage.store import format as f
from tutelage.store.blocks import Block, Role, line, line_chart, notice, prose, table
from tutelage.store.files import write_atomic, write_json

RESULT, PAGE = "ladder.json", "ladder.html"


def write_ladder(found: Findings) -> tuple[dict[str, Any], Path]:
    """The plain result, and the path of its page; those of an earlier ladder are replaced."""
    data, folder = plain(found), found.ladder.folder
    write_json(folder / RESULT, data)
    write_atomic(folder / PAGE, render(data, found))
    return data, folder / PAGE


def render(data: dict[str, Any], found: Findings) -> str:
    """The page as HTML text."""
    check, *said = sentences(data)
    sections = [
        ("Is the fit reliable?", [notice(check, "note" if data["check"]["passed"] else "warning")]),
        ("What it says", [prose(one) for one in said]),
        ("Loss against compute", [chart(found)]),
        ("Runs", [runs(found)]),
    ]
    return page(f"Ladder of {data['name']}", "Tutelage, scaling ladder", "", sections)


def chart(found: Findings) -> Block:
    """The runs of each width, and the law through each of them, over the logarithm of training FLOPs."""
    by_width: dict[int, list[Any]] = {}
    for run in found.ladder.runs:
        by_width.setdefault(run.width, []).append(run)
    law = found.joint.law
    lines = []
    for runs_ in by_width.values():
        lines.append(line("", [(math.log10(run.flops), law.loss(*run.point.sizes)) for run in runs_], "quiet"))
    for number, (width, runs_) in enumerate(by_width.items()):
        role: Role = "accent" if number == len(by_width) - 1 else "ink"
        lines.append(line(f"width {width}", [(math.log10(run.flops), run.bits_per_byte) for run in runs_], role))
    return line_chart(
        lines, x="training FLOPs, power of ten", y="bits per byte", title="Loss against compute",
        caption="Each line a width, each point a run; pale: the fitted law.",
    )  # fmt: skip


def runs(found: Findings) -> Block:
    law, held = found.joint.law, found.check.run
    rows = [
        [str(run.width), f.compact(run.parameters), f.compact(run.tokens), f"{run.passes:.1f}", f"{run.flops:.1e}",
         f.duration(run.seconds), f"{run.bits_per_byte:.4f}" + (" (held out)" if run is held else ""),
         f"{law.loss(*run.point.sizes):.4f}"]
        for run in found.ladder.runs
    ]  # fmt: skip
    columns = ["Width", "Parameters#", "Tokens#", "Passes#", "FLOPs#", "Training#", "Bits per byte#", "Law#"]
    return table(columns, rows, "Parameters: those that are multiplied, blocks and output head.")
