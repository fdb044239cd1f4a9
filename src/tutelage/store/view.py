"""The data of a report section: a stage of a run, and the scores of the evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tutelage.store.events import read_events
from tutelage.store.format import bits, few_pairs, is_number, number, percent

Record = dict[str, Any]
Outcome = Literal["better", "worse", "not resolved", "too few items", "not compared"]
_SWAPPED: dict[Any, Outcome] = {"better": "worse", "worse": "better"}
Kind = Literal["model", "baseline", "reference"]


@dataclass(frozen=True)
class Figure:
    """A measured value of `who` (a model, a baseline, the references) for a task and measure, with its interval.

    items: group of figures measured on the same items (two classifiers have different held-out texts, but both have the
    task "classification").
    """

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
    kind: str = "model"
    items: int = 0

    def show(self, value: float | None = None) -> str:
        """A value (default: its own) in the unit of the measure."""
        shown = self.value if value is None else value
        if counted := few_pairs(shown, self.n, self.unit):
            return counted
        if self.unit.startswith("share"):
            return percent(shown)
        if self.unit.startswith("bits"):
            return bits(shown)
        return f"{shown:.1f}" if self.unit == "0-100" else f"{shown:.3f}" if self.unit == "0-1" else number(shown)

    @property
    def style(self) -> str:
        """How a chart writes values of this unit (`format.SHOW`)."""
        return "percent" if self.unit.startswith("share") else "bits" if self.unit.startswith("bits") else "number"

    @property
    def interval(self) -> str:
        if self.low is None or self.high is None or few_pairs(self.value, self.n, self.unit):
            return ""
        return f"{self.show(self.low).removesuffix(' %')} to {self.show(self.high)}"

    def ahead_of(self, other: Figure) -> bool:
        """Whether it is better by value; this is not a verdict."""
        return self.value != other.value and (self.value > other.value) == self.higher_is_better


def best(figures: Sequence[Figure]) -> Figure | None:
    """The best of several figures of one measure."""
    return min(figures, key=lambda one: -one.value if one.higher_is_better else one.value, default=None)


@dataclass(frozen=True)
class Comparison:
    """A paired comparison on the same items. `claim`: whether the loss is at most `margin`, if tested. `caution`: why
    "better" is misleading, if it is."""

    outcome: Outcome = "not compared"
    claim: str = ""
    margin: float | None = None
    caution: str = ""


@dataclass(frozen=True)
class Scores:
    """All results of the evaluation. `confidence`: of its intervals; None if unknown.

    comparisons: {"a", "b", "measure", "difference", "low", "high", "p", "n", "outcome", "verdict"}, a minus b on the
    same items; with a test of the loss against `margin`, also {"claim", "margin"}.
    learned: {"who", "before", "found", "text", "alarm"} of each finetuned model. alarms: {"who", "text"} of those that
    are over-optimised.
    """

    figures: tuple[Figure, ...] = ()
    comparisons: tuple[Record, ...] = ()
    learned: tuple[Record, ...] = ()
    alarms: tuple[Record, ...] = ()
    confidence: float | None = None

    def find(self, measure: str, who: str) -> Figure | None:
        """The first figure of that measure and owner."""
        return next((one for one in self.figures if one.measure == measure and one.who == who), None)

    def beside(self, figure: Figure) -> list[Figure]:
        """All figures measured on the same items, itself included, in the order of the evaluation."""
        wanted = (figure.items, figure.task, figure.measure)
        return [one for one in self.figures if (one.items, one.task, one.measure) == wanted]

    def reference(self, figure: Figure) -> Figure | None:
        """The figure of the reference answers on the same task, if measured."""
        return next((one for one in self.beside(figure) if one.kind == "reference"), None)

    def alarm(self, who: str) -> str:
        """Why a model is considered over-optimised, as a sentence; empty if it is not."""
        return next((str(one.get("text") or "") for one in self.alarms if one.get("who") == who), "")

    def compared(self, ours: Figure, theirs: Figure) -> Comparison:
        """The paired comparison of the two on the same items, the only source of verdicts."""
        for row in self.comparisons:
            pair = (row.get("a"), row.get("b"))
            if row.get("measure") != ours.measure or row.get("task", ours.task) != ours.task:
                continue
            if pair == (ours.who, theirs.who):
                claim, caution = (str(row.get(key) or "") for key in ("claim", "caution"))
                return Comparison(_outcome(row), claim, _number(row.get("margin")), caution)
            if pair == (theirs.who, ours.who):
                return Comparison(_SWAPPED.get(_outcome(row), _outcome(row)))
        return Comparison()

    def outcome(self, ours: Figure, theirs: Figure) -> Outcome:
        return self.compared(ours, theirs).outcome


def _outcome(row: Record) -> Outcome:
    """The outcome in the file; it is never derived from intervals."""
    said = row.get("outcome")
    return said if said in ("better", "worse", "not resolved", "too few items") else "not compared"


@dataclass(frozen=True)
class View:
    """One stage of a run.

    forecast: made before it ran: `seconds` and the figures in `metrics` as [low, middle, high], `memory` in bytes.
    status: ran, cached, skipped, failed, interrupted or pending. inputs: by role. events: of the latest run of the
    stage. curve: its logged steps, also of an unfinished stage. parent: the model it was finetuned from; base: the
    first model of that line.
    """

    name: str
    kind: str = ""
    title: str = ""
    makes: str = ""
    status: str = "pending"
    identity: str = ""
    seconds: float | None = None
    forecast: Record = field(default_factory=dict)
    why: str = ""
    metrics: Record = field(default_factory=dict)
    manifest: Record = field(default_factory=dict)
    directory: Path | None = None
    curve: list[Record] = field(default_factory=list)
    inputs: Mapping[str, View] = field(default_factory=dict)
    events: list[Record] = field(default_factory=list)
    scores: Scores = field(default_factory=Scores)
    parent: str | None = None
    base: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)  # of the run: name -> what it is

    @property
    def done(self) -> bool:
        return self.status in ("ran", "cached")

    @property
    def settings(self) -> Record:
        """Its settings, according to its manifest."""
        config = self.manifest.get("config")
        found = config.get("settings") if isinstance(config, dict) else None
        return found if isinstance(found, dict) else {}

    def json(self, name: str) -> Record:
        """A JSON object of the stage's files; empty if missing."""
        return read_json(self.directory / name) if self.directory is not None else {}

    def lines(self, name: str) -> list[Record]:
        """A JSON-lines file of the stage; empty if missing."""
        return read_lines(self.directory / name) if self.directory is not None else []

    def score(self, measure: str) -> Figure | None:
        return self.scores.find(measure, self.name)

    def rival(self, ours: Figure, rivals: Sequence[str]) -> Figure | None:
        """The strongest of the rivals of a kind (baselines, parent, base) on the same task."""
        names = {self.parent if "parent" in rivals else None, self.base if "base" in rivals else None} - {None}
        others = [one for one in self.scores.beside(ours) if one.who != ours.who and one.kind != "reference"]
        return best([one for one in others if one.who in names or (one.kind == "baseline" and "baselines" in rivals)])


def read_json(path: Path) -> Record:
    """A JSON object from a file; empty if missing, damaged or not an object."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def read_lines(path: Path) -> list[Record]:
    """Objects of a JSON-lines file; damaged lines are skipped."""
    try:
        return [line for line in read_events(path) if isinstance(line, dict)]
    except (OSError, UnicodeDecodeError):
        return []


def read_scores(evaluation: Record) -> Scores:
    """The scores in evaluation.json; damaged rows are skipped."""
    figures = tuple(
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
            kind=str(row.get("kind") or "model"),
            items=number,
        )
        for number, entry in enumerate(_records(evaluation.get("figures")))
        for row in _records(entry.get("rows"))
        if "who" in row and is_number(row.get("value"))
    )
    comparisons = tuple(row for row in _records(evaluation.get("comparisons")) if is_number(row.get("difference")))
    learned, alarms = (tuple(_records(evaluation.get(key))) for key in ("learned", "alarms"))
    return Scores(figures, comparisons, learned, alarms, _number(evaluation.get("confidence")))


def _records(value: Any) -> list[Record]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    return float(value) if is_number(value) else None
