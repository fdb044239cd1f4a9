"""The plain data of evaluation.json: figures with rows, comparisons with verdicts, harness-like results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

from tutelage.evaluation.cautions import cautions_of
from tutelage.evaluation.statistics import Difference, Interval
from tutelage.evaluation.verdicts import Claim, NonInferiority, Outcome, Verdict

Figure = dict[str, Any]


class Comparison(TypedDict):
    """a minus b on the same items. `outcome` is a against b, whichever direction is the better one.

    p_is_bound: the true p-value is at most p. claim, margin: set for a non-inferiority test (a lost no more than
    `margin`), which `verdict` then reports. caution: why "better" does not mean improvement (`overoptimised.py`).
    """

    a: str
    b: str
    measure: str
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_is_bound: bool
    n: int
    outcome: Outcome
    verdict: str
    caution: NotRequired[str]
    claim: NotRequired[Claim]
    margin: NotRequired[float]


def row(who: str, interval: Interval | float, n: int, kind: str = "model") -> dict[str, Any]:
    """One system's value. A bare float has no interval: it is one number for all items together."""
    value, low, high = (
        (interval.value, interval.low, interval.high) if isinstance(interval, Interval) else (interval, None, None)
    )
    return {"who": who, "value": _r(value), "low": _r(low), "high": _r(high), "n": n, "kind": kind}


def figure(
    task: str, measure: str, unit: str, higher_is_better: bool, rows: list[dict[str, Any]], note: str = ""
) -> Figure:
    return {
        "task": task,
        "measure": measure,
        "unit": unit,
        "higher_is_better": higher_is_better,
        "rows": rows,
        "note": note,
        "cautions": cautions_of(measure),
    }


def comparison(
    a: str,
    b: str,
    measure: str,
    difference: Difference,
    verdict: Verdict,
    *,
    claim: NonInferiority | None = None,
    margin: float = 0.0,
    note: str = "",
) -> Comparison:
    """a minus b, with the outcome and the sentence that says what it means; `note` ends the sentence."""
    found: Comparison = {
        "a": a,
        "b": b,
        "measure": measure,
        "difference": _r(difference.value),
        "low": _r(difference.low),
        "high": _r(difference.high),
        "p": difference.p,
        "p_is_bound": difference.at_floor,
        "n": difference.n,
        "outcome": verdict.outcome,
        "verdict": (claim or verdict).text + note,
    }
    if claim is not None:
        found["claim"] = claim.claim
        found["margin"] = margin
    return found


def harness_results(figures: Sequence[Figure], z: float) -> dict[str, Any]:
    """who -> task -> {"measure,none": value, "measure_stderr,none": standard error}, as lm-evaluation-harness
    names them; the standard error is that of a normal interval of the same width.
    """
    results: dict[str, Any] = {}
    for entry in figures:
        task, measure = (str(entry[key]).lower().replace(" ", "_") for key in ("task", "measure"))
        for entry_row in entry["rows"]:
            scores = results.setdefault(entry_row["who"], {}).setdefault(task, {"alias": entry["task"]})
            scores[f"{measure},none"] = entry_row["value"]
            error = "N/A" if entry_row["low"] is None else _r((entry_row["high"] - entry_row["low"]) / (2 * z))
            scores[f"{measure}_stderr,none"] = error
    return results


def _r(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
