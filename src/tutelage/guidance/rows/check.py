"""Precision of the doubts on a file: plant faults in some of its rows and search for them like for all others."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tutelage.evaluation.statistics import wilson
from tutelage.guidance.rows.detectors import WRONG_LABEL, Detector, Rows

LOOKED_AT = 50
SHARE = 0.1  # share of the rows that get the fault
MOST_ROWS = 2000
_CONFIDENCE = 0.95
_GOOD, _HALF = 0.8, 0.5  # share of planted faults among the most doubted rows; a tenth is chance
_UNCHECKED = {
    "classify": "off-topic rows",
    "text": "off-topic rows",
    "instruct": "off-topic rows, refusals, other languages",
    "prefer": "off-topic rows, refusals, other languages",
}


@dataclass(frozen=True)
class Check:
    """`planted` faulty rows among `rows`, of which `found` are among the `looked` most doubtful; `share` with its
    interval."""

    why: str
    rows: int
    planted: int
    looked: int
    found: int
    share: float
    low: float
    high: float

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def self_check(rows: Rows, who: Sequence[Detector], seed: int = 1) -> list[Check]:
    """One check for each fault that can be planted in rows of the file, of which at most 2,000 are used.

    Doubtful rows are not excluded, which would be too optimistic. A row that was faulty before counts as a miss, so the
    share is a lower bound for a file with a tenth of such faults.
    """
    chance = random.Random(seed)
    sound = sorted(chance.sample(range(len(rows)), min(MOST_ROWS, len(rows))))
    found = []
    for detector in who:
        if detector.plant is None:
            continue
        mine = [rows[at] for at in sound]
        able = [at for at, row in enumerate(mine) if detector.may(row)]
        count = min(round(SHARE * len(mine)), len(able) // 2)
        if count < 2:
            continue
        chosen = sorted(chance.sample(able, count))
        for at, row in zip(chosen, detector.plant([mine[at] for at in chosen], chance), strict=True):
            mine[at] = row
        said = detector.look(mine)
        ranked = sorted(range(len(mine)), key=lambda at: -said[at][1])[: min(LOOKED_AT, count)]
        hits = len(set(ranked) & set(chosen))
        share = wilson(float(hits), len(ranked), _CONFIDENCE)
        low, high = share.low or 0.0, share.high if share.high is not None else 1.0
        found.append(Check(detector.why, len(mine), count, len(ranked), hits, round(share.value, 4), round(low, 4),
                           round(high, 4)))  # fmt: skip
    return found


def lines(checks: Sequence[Check], kind: str, read: bool) -> list[str]:
    """The precision of the doubts in sentences. kind: of the file; read: whether a model has read its texts."""
    if not checks:
        return ["Too few rows to measure the precision of the doubts."]
    said = [
        f"Precision of the doubts here: a tenth of {checks[0].rows:,} rows was made faulty and searched for. Planted "
        "rows among the most doubtful:"
    ]
    for one in checks:
        worth = (
            "reliable" if one.low >= _GOOD else "mostly right" if one.share >= _HALF else "more often wrong than right"
        )
        said.append(
            f"  {one.why}: {one.found} of {one.looked} ({100 * one.share:.0f} % [{100 * one.low:.0f}, "
            f"{100 * one.high:.0f}]; {worth})"
        )
    if any(one.why == WRONG_LABEL and one.share < _GOOD for one in checks) and kind == "classify" and not read:
        said.append(
            "These labels cannot be predicted well from words; `--model smollm2` also reads the texts (minutes)."
        )
    said.append(f"If fewer rows are faulty, the precision is lower. Not checked: {_UNCHECKED[kind]}.")
    return said
