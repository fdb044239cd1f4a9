"""Measured figures and paired comparisons: read from the evaluation's files, shown and judged alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from tutelage.report.format import is_number, number, percent

Verdict = Literal["better", "worse", "not resolved"]
Record = dict[str, Any]

MODELS = {"base": "Base", "classify": "Classifier", "instruct": "Instructed", "prefer": "Preferred"}
REFERENCE = "the true docstrings"  # shown beside the others, but nobody's rival

BITS, ORDER, ACCURACY, F1 = "bits per byte", "word order", "accuracy", "macro-F1"
CHRF, ROUGE, ENDS = "chrF", "ROUGE-L", "ends by itself"
RULE, WIN = "PEP 257 rule passed", "win rate by the PEP 257 rule"


@dataclass(frozen=True)
class Figure:
    """A measured value: of what (task, measure), of whom (a model or a baseline), with its interval."""

    task: str
    measure: str
    who: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unit: str = ""
    higher_is_better: bool = True
    note: str = ""

    @property
    def is_model(self) -> bool:
        return self.who in MODELS

    @property
    def name(self) -> str:
        """Of whom, as a reader says it."""
        return MODELS.get(self.who, self.who)

    def show(self, value: float | None = None) -> str:
        """A value in the measure's own unit; without one, its own."""
        shown = self.value if value is None else value
        if self.unit.startswith("share"):
            return percent(shown)
        if self.unit.startswith("bits"):
            return f"{shown:.3f}"
        return f"{shown:.1f}" if self.unit == "0-100" else f"{shown:.3f}" if self.unit == "0-1" else number(shown)

    @property
    def interval(self) -> str:
        if self.low is None or self.high is None:
            return ""
        return f"{self.show(self.low).removesuffix(' %')} to {self.show(self.high)}"


def read_figures(evaluation: Record) -> list[Figure]:
    """All rows of all figures of evaluation.json; rows that are damaged are passed over."""
    return [
        Figure(
            task=str(entry.get("task", "")),
            measure=str(entry.get("measure", "")),
            who=str(row["who"]),
            value=float(row["value"]),
            low=_number(row.get("low")),
            high=_number(row.get("high")),
            n=int(row["n"]) if is_number(row.get("n")) else None,
            unit=str(entry.get("unit", "")),
            higher_is_better=bool(entry.get("higher_is_better", True)),
            note=str(entry.get("note") or ""),
        )
        for entry in _records(evaluation.get("figures"))
        for row in _records(entry.get("rows"))
        if "who" in row and is_number(row.get("value"))
    ]


def read_baselines(baselines: Record) -> list[Figure]:
    """Bits per byte of the compressors and the n-gram model, for a run that has no evaluation yet."""
    rates = baselines.get("bits_per_byte")
    return [
        Figure("held-out text", BITS, str(who), float(row["value"]), _number(row.get("low")), _number(row.get("high")),
               unit=BITS, higher_is_better=False, note=str(baselines.get("note") or ""))
        for who, row in (rates.items() if isinstance(rates, dict) else ())
        if isinstance(row, dict) and is_number(row.get("value"))
    ]  # fmt: skip


def read_comparisons(evaluation: Record) -> list[Record]:
    """Paired comparisons {"a", "b", "measure", "difference", "low", "high", "p", "n", "verdict"}."""
    return [row for row in _records(evaluation.get("comparisons")) if is_number(row.get("difference"))]


def compare(ours: Figure, theirs: Figure, comparisons: Iterable[Record] = ()) -> Verdict:
    """Who is ahead.

    By the paired comparison on the same items where there is one. Else by the intervals: not resolved when
    either value lies within the other's interval.
    """
    for row in comparisons:
        if row.get("measure") == ours.measure and {row.get("a"), row.get("b")} == {ours.who, theirs.who}:
            return _paired(row, ours)
    for a, b in ((ours, theirs), (theirs, ours)):
        if a.low is not None and a.high is not None and a.low <= b.value <= a.high:
            return "not resolved"
    if ours.value == theirs.value:
        return "not resolved"
    return "better" if (ours.value > theirs.value) == ours.higher_is_better else "worse"


def _paired(row: Record, ours: Figure) -> Verdict:
    difference, low, high, p = row["difference"], _number(row.get("low")), _number(row.get("high")), row.get("p")
    one_side = low is not None and high is not None and (low > 0 or high < 0)
    if not one_side or (is_number(p) and p >= 0.05):
        return "not resolved"
    ahead = difference > 0 if row["a"] == ours.who else difference < 0
    return "better" if ahead == ours.higher_is_better else "worse"


def best(figures: list[Figure]) -> Figure | None:
    """The hardest to beat of figures of one measure."""
    if not figures:
        return None
    sign = -1 if figures[0].higher_is_better else 1
    return min(figures, key=lambda figure: sign * figure.value)


def _records(value: Any) -> list[Record]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    return float(value) if is_number(value) else None
