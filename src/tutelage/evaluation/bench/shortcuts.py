"""Shortcut baselines: does a score beat guessing, the longest option, or the options without the question?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tutelage.evaluation.bench.grading import grades
from tutelage.evaluation.bench.items import Item
from tutelage.evaluation.bench.metrics import Choices, Floats, PerItem, choice_scores
from tutelage.evaluation.bench.task import BenchTask
from tutelage.evaluation.bench.templates import value_of
from tutelage.evaluation.statistics import Difference, paired_difference
from tutelage.evaluation.verdicts import MIN_ITEMS, spoken_p

Outcome = Literal["above", "not above chance", "shortcut", "too few items", "figure"]


@dataclass(frozen=True)
class Baseline:
    """A baseline that does not read the question. value: share right; values: per item of `items` (None: all)."""

    name: str
    value: float
    values: Floats
    items: list[int] | None = None


@dataclass(frozen=True)
class Worth:
    outcome: Outcome
    text: str


def option_baselines(items: Sequence[Choices], guess: float | None = None) -> list[Baseline]:
    """Guessing (share right: `guess`, else that of a uniform choice), the most frequent position of the right answer,
    the longest and the shortest option; ties are split evenly."""
    chance = np.array([len(item.gold) / len(item.logprobs) if guess is None else guess for item in items])
    found = [Baseline("chance", float(chance.mean()), chance)]
    common = Counter(item.gold[0] for item in items).most_common(1)[0][0]
    place = np.array([float(common in item.gold) for item in items])
    # If all right answers are in one position, the data was never shuffled and the position is no baseline.
    if 0 < place.mean() < 1:
        found.append(Baseline("majority position", float(place.mean()), place))
    if any(len(set(item.chars)) > 1 for item in items):
        for name, sign in (("longest option", 1.0), ("shortest option", -1.0)):
            values = np.array([_share_of_best(sign * item.chars, item.gold) for item in items])
            found.append(Baseline(name, float(values.mean()), values))
    return found


def answer_only(items: Sequence[Choices], metric: str, asked: Sequence[int]) -> Baseline | None:
    """The same model without the question: share right by the same normalisation, over the items scored that way."""
    blind = [
        Choices(one.unconditional, None, one.chars, one.bytes, one.tokens, one.greedy, one.gold)
        for one in (items[index] for index in asked)
        if one.unconditional is not None
    ]
    if not blind:
        return None
    scores = choice_scores(blind).metrics
    values = scores[metric if metric in scores else "acc"].values
    return Baseline("answer only", float(values.mean()), values, list(asked))


def trivial_answers(task: BenchTask, items: Sequence[Item]) -> list[Baseline]:
    """The task's trivial answers (its source text, its first sentences), graded by the task's metric."""
    found = []
    for name, expression in task.trivial.items():
        written = [str(value_of(expression, item.row, f"task {task.name}, item {item.id}")) for item in items]
        values = np.array([grades(task, item, text)[task.metric] for item, text in zip(items, written, strict=True)])
        found.append(Baseline(name, float(values.mean()), values))
    return found


def worth(
    one: PerItem, baselines: Sequence[Baseline], chance: float | None, clusters: Sequence[str | None] | None = None
) -> Worth:
    """Whether the score is above chance and every shortcut, by paired tests at 5 %, over clusters if there are any."""
    n = len(one.values)
    shown = f"{100 * one.values.mean():.1f} %"
    if n < MIN_ITEMS:
        return Worth("too few items", f"n too small: {n} items; 50 to 100 are required")
    guess = next((each for each in baselines if each.name == "chance"), None)
    if guess is None and chance:
        guess = Baseline("chance", chance, np.full(n, chance))
    lost = []
    for rival in ([guess] if guess else []) + [each for each in baselines if each.name != "chance"]:
        difference = _difference(one.values, rival, clusters)
        if not (difference.value > 0 and difference.p < 0.05):
            lost.append((rival, difference))
    if not lost:
        rivals = "chance and above every shortcut" if guess else "every trivial answer"
        return Worth("above", f"above {rivals} (n = {n})")
    rival, difference = lost[0]
    few = f"; n too small: {n} items, 50 to 100 are required" if n < 50 else ""
    if rival.name == "chance":
        outcome: Outcome = "too few items" if n < 50 else "not above chance"
        said = f"not above chance: {shown} against {100 * rival.value:.1f} %, {spoken_p(difference)}{few}"
        return Worth(outcome, said)
    worst, difference = max(lost, key=lambda pair: pair[0].value)
    return Worth(
        "shortcut",
        f"shortcut: no better than {_SPOKEN.get(worst.name, worst.name)} ({100 * worst.value:.1f} % against {shown}, "
        f"{spoken_p(difference)}){few}",
    )


_SPOKEN = {
    "majority position": "always taking the most frequent position",
    "longest option": "always taking the longest option",
    "shortest option": "always taking the shortest option",
    "answer only": "the same model without the question",
    "chance": "guessing",
}


def _difference(values: Floats, rival: Baseline, clusters: Sequence[str | None] | None) -> Difference:
    at = list(range(len(values))) if rival.items is None else rival.items
    mine, theirs = values[at], rival.values
    if clusters is None or any(clusters[index] is None for index in at):
        return paired_difference(mine, theirs)
    _, where = np.unique([str(clusters[index]) for index in at], return_inverse=True)
    return paired_difference(np.bincount(where, mine), np.bincount(where, theirs), np.bincount(where).astype(float))


def _share_of_best(scores: Floats, gold: tuple[int, ...]) -> float:
    best = np.flatnonzero(scores == scores.max())
    return len(set(best.tolist()) & set(gold)) / len(best)
