"""Did it learn anything? One line per step: the model before and after finetuning, on the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypedDict

from tutelage.evaluation.figures import Comparison, Figure
from tutelage.evaluation.label_sets import FREQUENT, MICRO
from tutelage.evaluation.labelling import ACCURACY, MAE, MAJORITY, MEDIAN
from tutelage.evaluation.likelihood import LIKELIER, LOSS, MARGIN
from tutelage.evaluation.overoptimised import Alarm
from tutelage.evaluation.preference import REWARD
from tutelage.evaluation.spec import Subject
from tutelage.evaluation.verdicts import percent
from tutelage.evaluation.writing import RULE, WIN

Finding = Literal["learned", "got worse", "no difference", "too few rows", "not compared"]

MEASURES = {"labels": (MAE, ACCURACY), "label sets": (MICRO,), "answers": (LOSS,), "pairs": (LIKELIER, MARGIN)}
"""By kind of held-out rows: the measure that decides, and a second one if the first does not resolve. For other kinds
it is the first measure in which the step and its parent are compared."""
BY_RULE = (RULE, WIN, REWARD, LIKELIER, MARGIN)
"""Measures that a model can win by learning the rule alone."""

CONSTANT = (MAJORITY, MEDIAN, FREQUENT)  # baselines of a classifier whose parent is a language model
_FOUND: dict[str, Finding] = {"better": "learned", "worse": "got worse", "too few items": "too few rows"}


class Learned(TypedDict):
    """What a step learned, by a paired comparison on its own held-out rows.

    before: what it is compared with: its parent or, for a classifier without a comparable parent, the majority class.
    was, now: values of `measure`, in its figure's unit; difference, low, high: now minus was, in points for shares.
    alarm: why "learned" does not mean improvement.
    """

    who: str
    before: str
    measure: str
    found: Finding
    was: float | None
    now: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    text: str
    alarm: str


def learned(
    subjects: Sequence[Subject],
    figures: Sequence[Figure],
    comparisons: Sequence[Comparison],
    alarms: Iterable[Alarm],
    confidence: float,
) -> list[Learned]:
    """One entry for every step with held-out rows that was measured on them, in stage order."""
    said = {alarm["who"]: alarm["text"] for alarm in alarms}
    lines = []
    for subject in subjects:
        usual = (one for one in MEASURES.get(subject.heldout, ()) if _figure(figures, subject.name, one))
        measures = tuple(usual) or _first_compared(subject, comparisons)
        if subject.heldout and subject.share == 1 and measures:
            alarm = said.get(subject.name, "")
            lines.append(_line(subject, measures, figures, comparisons, alarm, confidence))
    return lines


def with_cautions(comparisons: Iterable[Comparison], alarms: Iterable[Alarm]) -> None:
    """Add a caution to every comparison that an over-optimised model wins by its rule."""
    said = {alarm["who"]: alarm["text"] for alarm in alarms}
    for one in comparisons:
        if one["a"] in said and one["outcome"] == "better" and one["measure"] in BY_RULE:
            one["caution"] = said[one["a"]]
            one["verdict"] = (
                f"{one['verdict'].rstrip('.')}; but {one['a']} is over-optimised: no sign of better answers"
            )


def _line(
    subject: Subject,
    measures: Sequence[str],
    figures: Sequence[Figure],
    comparisons: Sequence[Comparison],
    alarm: str,
    confidence: float,
) -> Learned:
    who = subject.name
    found = [one for measure in measures if (one := _compared(who, (subject.parent, *CONSTANT), measure, comparisons))]
    resolved = [one for one in found if one["outcome"] in ("better", "worse")]
    enough = [one for one in found if one["outcome"] != "too few items"]  # shares require more rows than means
    if not found:
        now = _values(_figure(figures, who, measures[0])).get(who)
        text = f"whether {who} learned anything is unknown: the model before it was not measured"
        return _plain(who, "", measures[0], "not compared", None, now, None, text, alarm)
    one = (resolved or enough or found)[0]
    before, measure = one["b"], one["measure"]
    entry = _figure(figures, who, measure)
    share = bool(entry and str(entry["unit"]).startswith("share"))
    was, now = (_values(entry).get(name) for name in (before, who))
    outcome = _FOUND.get(one["outcome"], "no difference")
    change = f"{measure} {_shown(was, share)} before, {_shown(now, share)} after" + (
        f" ({before} to {who})" if before not in CONSTANT else f" (before: {before})"
    )
    interval = _interval(one, share, confidence)
    rows = f"{one['n']} held-out row{'s' if one['n'] != 1 else ''}"
    if outcome == "learned":
        text = f"{who} learned something: {change}, {interval}, {rows}"
    elif outcome == "got worse":
        text = f"{who} got worse: {change}, {interval}, {rows}"
    elif outcome == "too few rows":
        text = f"too few rows to say whether {who} learned anything: {change}, {interval}, {rows}"
    else:
        same = "no row differs; " if one["difference"] == one["low"] == one["high"] == 0 else ""
        text = f"{who} shows no measurable difference: {same}{change}, {interval}, {rows}"
    if resolved and measure != measures[0]:
        first = found[0]
        text += f"; {first['measure']} is not resolved: {_interval(first, True, confidence)}, p = {first['p']:.2g}"
    return _plain(who, before, measure, outcome, was, now, one, text, alarm)


def _plain(
    who: str, before: str, measure: str, found: Finding, was: float | None, now: float | None, one: Comparison | None,
    text: str, alarm: str,
) -> Learned:  # fmt: skip
    return {
        "who": who, "before": before, "measure": measure, "found": found, "was": was, "now": now,
        "difference": one["difference"] if one else None, "low": one["low"] if one else None,
        "high": one["high"] if one else None, "p": one["p"] if one else None, "n": one["n"] if one else 0,
        "text": text, "alarm": alarm,
    }  # fmt: skip


def _compared(
    who: str, others: Sequence[str | None], measure: str, comparisons: Sequence[Comparison]
) -> Comparison | None:
    """The first comparison found with one of these."""
    for other in others:
        for one in comparisons:
            if (one["a"], one["b"], one["measure"]) == (who, other, measure):
                return one
    return None


def _first_compared(subject: Subject, comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    found = (one["measure"] for one in comparisons if (one["a"], one["b"]) == (subject.name, subject.parent))
    return tuple(found)[:1]


def _figure(figures: Sequence[Figure], who: str, measure: str) -> Figure | None:
    """The figure on the step's own rows, which precede the rows of later steps that it is also scored on."""
    mine = (one for one in figures if one["measure"] == measure and any(row["who"] == who for row in one["rows"]))
    return next(mine, None)


def _values(entry: Figure | None) -> dict[str, float]:
    return {str(item["who"]): float(item["value"]) for item in entry["rows"]} if entry else {}


def _shown(value: float | None, share: bool) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %" if share else f"{value:.3f}"


def _interval(one: Comparison, share: bool, confidence: float) -> str:
    digits, unit = (1, " points") if share else (3, "")
    difference = one["difference"] or 0.0
    if one["low"] is None or one["high"] is None:
        return f"difference {difference:+.{digits}f}{unit}, too few for an interval"
    return (
        f"difference {difference:+.{digits}f}{unit} ({percent(confidence)} interval {one['low']:+.{digits}f} to "
        f"{one['high']:+.{digits}f})"
    )
