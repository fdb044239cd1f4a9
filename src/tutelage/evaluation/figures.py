"""The plain data of evaluation.json: figures with rows, comparisons with verdicts, harness-like results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tutelage.evaluation.statistics import Difference, Interval

Figure = dict[str, Any]
Comparison = dict[str, Any]


def row(who: str, interval: Interval | float, n: int, kind: str = "model") -> dict[str, Any]:
    """One party's value. A bare float has no interval: it is one number for all items together."""
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
    }


def comparison(a: str, b: str, measure: str, difference: Difference, verdict: str) -> Comparison:
    """a minus b, with the sentence that says what it means."""
    return {
        "a": a,
        "b": b,
        "measure": measure,
        "difference": _r(difference.value),
        "low": _r(difference.low),
        "high": _r(difference.high),
        "p": _r(difference.p),
        "n": difference.n,
        "verdict": verdict,
    }


def value_of(figures: Sequence[Figure], measure: str, who: str) -> float | None:
    """The value of one row, None where there is no such row."""
    for entry in figures:
        if entry["measure"] == measure:
            for line in entry["rows"]:
                if line["who"] == who:
                    return float(line["value"])
    return None


def harness_results(figures: Sequence[Figure], z: float) -> dict[str, Any]:
    """who -> task -> {"measure,none": value, "measure_stderr,none": standard error}, as lm-evaluation-harness
    names them; the standard error is that of a normal interval of the same width.
    """
    results: dict[str, Any] = {}
    for entry in figures:
        task, measure = (str(entry[key]).lower().replace(" ", "_") for key in ("task", "measure"))
        for line in entry["rows"]:
            scores = results.setdefault(line["who"], {}).setdefault(task, {"alias": entry["task"]})
            scores[f"{measure},none"] = line["value"]
            error = "N/A" if line["low"] is None else _r((line["high"] - line["low"]) / (2 * z))
            scores[f"{measure}_stderr,none"] = error
    return results


def _r(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
