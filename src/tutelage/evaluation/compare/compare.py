"""Paired tests per task with a multiple-testing correction, an average, verdicts, and an exit code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from tutelage.evaluation.clusters import clustered_difference, units, usable
from tutelage.evaluation.compare.comparable import (
    Which,
    check_comparable,
    chosen_metrics,
    in_order,
    missing_tasks,
    names_of,
    otherwise_weighed,
)
from tutelage.evaluation.compare.corrections import Correction, correct
from tutelage.evaluation.compare.scores import Metric, Results
from tutelage.evaluation.shares import paired_shares
from tutelage.evaluation.statistics import (
    Difference,
    detectable_difference,
    sign_flip,
    t_reach,
)
from tutelage.evaluation.verdicts import Outcome, verdict
from tutelage.store.errors import InputError

FINE, REGRESSION, TOO_FEW = 0, 3, 4
"""Exit codes of `tutelage compare`; 1 and 2 mean failure and wrong usage for every verb."""
_DRAWS = 2000  # resamples for an interval
_TEST_DRAWS = 20_000  # permutations for a test: the floor of p must stay below 0.05 after correction for 1,000 tests


@dataclass(frozen=True)
class Settings:
    confidence: float = 0.95
    correction: Correction = "holm"
    metrics: Which = "primary"
    power: float = 0.8
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """b minus a in one metric of one task. p_adjusted: after correction over all tests of the comparison.

    detectable: the smallest true difference that this many items detect with the stated power, uncorrected.
    """

    task: str
    metric: str
    a: str
    b: str
    n: int
    clusters: int | None
    value_a: float
    value_b: float
    unit: str
    higher_is_better: bool
    difference: float
    low: float | None
    high: float | None
    p: float
    p_adjusted: float
    p_is_bound: bool
    detectable: float | None
    test: str
    outcome: Outcome
    verdict: str


@dataclass(frozen=True)
class Report:
    """rows: one per task and metric; averages: over all tasks whose metric is a share, one per pair of arms; overall:
    one sentence; left_out: what was not compared, and why; code: the exit code."""

    rows: list[Row]
    averages: list[Row]
    overall: str
    left_out: list[str]
    cautions: dict[str, list[str]]
    correction: str
    code: int

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    def cautioned(self) -> dict[str, list[str]]:
        """Caution -> the tasks that it applies to."""
        found: dict[str, list[str]] = {}
        for task, said in self.cautions.items():
            for text in said:
                found.setdefault(text, []).append(task)
        return found


def compare_results(results: Sequence[Results], settings: Settings = Settings()) -> Report:
    """Compare every result with the first. Raises InputError naming what makes them incomparable."""
    first = results[0]
    names = names_of(results)
    left_out = [*missing_tasks(results, names), *dict.fromkeys(text for one in results for text in one.left_out)]
    tasks = [task for task in first.tasks if all(task in other.tasks for other in results)]
    if not tasks:
        raise InputError(
            f"{' and '.join(one.place for one in results)} have no task in common",
            hint="; ".join(f"{one.place}: {', '.join(one.tasks) or 'none'}" for one in results),
        )
    unlike = check_comparable(results, tasks, settings.metrics)
    left_out += [f"{task}: {why}" for task, why in unlike.items()]
    tasks = [task for task in tasks if task not in unlike]
    odd = otherwise_weighed(results, tasks, settings.metrics)
    left_out += [f"{task}: weighted by tokens of different tokenizers" for task in odd]
    tasks = [task for task in tasks if task not in odd]
    if not tasks:
        raise InputError("nothing is comparable: every task is weighted by tokens of different tokenizers")
    found: list[tuple[Row, Difference, Metric]] = []
    averages: list[tuple[Row, Difference, Metric | None]] = []
    for name, other in zip(names[1:], results[1:], strict=True):
        mine = []
        for task in tasks:
            for metric in chosen_metrics(first, other, task, settings.metrics):
                a, b = (
                    first.tasks[task].metrics[metric],
                    in_order(other.tasks[task].metrics[metric], first, task, metric),
                )
                mine.append((task, metric, a, b))
        for task, metric, a, b in mine:
            difference, test = _paired(a, b, settings)
            found.append((_row(task, metric, names[0], name, a, b, difference, test, settings), difference, a))
        shares = [(a, b) for task, metric, a, b in mine if a.is_share and b.is_share and a.higher_is_better
                  and metric == first.tasks[task].primary]  # fmt: skip
        if len(shares) > 1:
            averages.append(_average(shares, names[0], name, settings))
    rows = _judged([(row, difference) for row, difference, _ in found], settings, settings.correction)
    means = _judged([(row, difference) for row, difference, _ in averages], settings, settings.correction)
    cautions = {task: list(first.tasks[task].cautions) for task in tasks if first.tasks[task].cautions}
    code = exit_code([*rows, *means])
    return Report(rows, means, _overall(rows, means, settings), left_out, cautions, settings.correction, code)


def exit_code(rows: Sequence[Row]) -> int:
    """3 if anything is significantly worse, 4 if no comparison has enough items, else 0."""
    if any(row.outcome == "worse" for row in rows):
        return REGRESSION
    return TOO_FEW if all(row.outcome == "too few items" for row in rows) else FINE


def _paired(a: Metric, b: Metric, settings: Settings) -> tuple[Difference, str]:
    """b minus a with the appropriate test: exact McNemar for shares, else sign flips of items or clusters."""
    share, clusters = a.is_share and b.is_share, usable(a.clusters)
    options: dict[str, Any] = {"confidence": settings.confidence, "seed": settings.seed}
    if share and clusters is None:
        difference, test = paired_shares(b.values, a.values, draws=_TEST_DRAWS, **options)
        return difference, test.removesuffix(" test")
    scale = 100.0 if share else 1.0
    ours, theirs = b.values * a.weights * scale, a.values * a.weights * scale
    difference = clustered_difference(ours, theirs, clusters, a.weights, draws=_DRAWS, **options)
    (delta,) = units(clusters, ours - theirs)
    p, at_floor = sign_flip(delta, draws=_TEST_DRAWS, seed=settings.seed)
    test = "sign flips" if clusters is None else "sign flips of clusters"
    return replace(difference, p=p, at_floor=at_floor), test


def _row(
    task: str, metric: str, name_a: str, name_b: str, a: Metric, b: Metric, difference: Difference, test: str,
    settings: Settings,
) -> Row:  # fmt: skip
    share = a.is_share and b.is_share
    scale = 100.0 if share else 1.0
    same = bool((a.values == b.values).all())
    return Row(
        task, metric, name_a, name_b, difference.n, difference.clusters, a.value * scale, b.value * scale,
        "points" if share else "", a.higher_is_better, difference.value, difference.low, difference.high,
        difference.p, difference.p, difference.at_floor, _detectable(difference, settings), test,
        "not resolved", "no item differs" if same else "",
    )  # fmt: skip


def _detectable(difference: Difference, settings: Settings) -> float | None:
    if not difference.deviation:
        return None
    return detectable_difference(difference.deviation, difference.units, settings.power, settings.confidence)


def _average(
    pairs: Sequence[tuple[Metric, Metric]], name_a: str, name_b: str, settings: Settings
) -> tuple[Row, Difference, None]:
    """The unweighted mean over tasks of the differences in points; items (or clusters) are flipped and resampled within
    each task. The variance is the sum over tasks, with Welch's (1947) degrees of freedom."""
    parts, variance, freedom, n, few = [], 0.0, 0.0, 0, math.inf
    value_a, value_b = (100 * float(np.mean([pair[side].value for pair in pairs])) for side in (0, 1))
    for a, b in pairs:
        (delta,), count = (
            units(usable(a.clusters), 100 * (b.values - a.values) / len(a.items) / len(pairs)),
            len(a.items),
        )
        parts.append(delta)
        n += count
        few = min(few, len(delta))
        if len(delta) > 1:
            mine = len(delta) * float(np.var(delta, ddof=1))
            variance += mine
            freedom += mine**2 / (len(delta) - 1)
    whole = np.concatenate(parts)
    p, at_floor = sign_flip(whole, draws=_TEST_DRAWS, seed=settings.seed)
    value, error = float(whole.sum()), math.sqrt(variance)
    half = t_reach(settings.confidence, variance**2 / freedom + 1) * error if freedom else 0.0
    known = few > 1
    difference = Difference(
        value, value - half if known else None, value + half if known else None, p, n, error * math.sqrt(n), at_floor
    )
    row = Row(
        f"average of {len(pairs)} tasks", "mean of shares", name_a, name_b, n, None, value_a, value_b, "points",
        True, value, difference.low, difference.high, p, p, at_floor, _detectable(difference, settings),
        "sign flips within tasks", "not resolved", "",
    )  # fmt: skip
    return row, difference, None


def _judged(rows: Sequence[tuple[Row, Difference]], settings: Settings, how: Correction) -> list[Row]:
    """The rows with corrected p-values, outcomes of b against a, and sentences."""
    adjusted = correct([row.p for row, _ in rows], how)
    judged = []
    for (row, difference), p in zip(rows, adjusted, strict=True):
        said = verdict(
            row.b, row.a, replace(difference, p=p), higher_is_better=row.higher_is_better, unit=row.unit,
            confidence=settings.confidence, digits=1 if row.unit == "points" else 3, shares=row.unit == "points",
        )  # fmt: skip
        text = said.text if not row.verdict else f"{said.text}; {row.verdict}"
        judged.append(replace(row, p_adjusted=p, outcome=said.outcome, verdict=text))
    return judged


def _overall(rows: Sequence[Row], means: Sequence[Row], settings: Settings) -> str:
    """One sentence per arm."""
    said = []
    for a, b in dict.fromkeys((row.a, row.b) for row in rows):
        mine = [row for row in rows if (row.a, row.b) == (a, b)]
        average = next((row for row in means if (row.a, row.b) == (a, b)), None)
        counts = {outcome: [row.task for row in mine if row.outcome == outcome] for outcome in _ORDER}
        parts = [f"{_ORDER[outcome]} {_listed(tasks)}" for outcome, tasks in counts.items() if tasks]
        on_average = ""
        if average is not None:
            bounds = "" if average.low is None else f" ({average.low:+.1f} to {average.high:+.1f})"
            on_average = f"; on average {average.difference:+.1f} points{bounds}: {average.outcome}"
        corrected = "" if settings.correction == "none" or len(rows) < 2 else f" ({_SPOKEN[settings.correction]})"
        said.append(f"{b} against {a}: {', '.join(parts)}{on_average}{corrected}.")
    return " ".join(said)


_ORDER: dict[Outcome, str] = {
    "worse": "worse on", "better": "better on", "not resolved": "not resolved on", "too few items": "too few items in",
}  # fmt: skip
_SPOKEN = {"holm": "p-values corrected by Holm", "bh": "false discovery rate by Benjamini-Hochberg"}


def _listed(tasks: Sequence[str]) -> str:
    shown = list(dict.fromkeys(tasks))
    return ", ".join(shown) if len(shown) <= 4 else f"{len(shown)} tasks ({', '.join(shown[:3])} ...)"
