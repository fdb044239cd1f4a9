"""What a score is worth: what guessing, the longest option or the options alone would get, and whether it beats that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tutelage.evaluation.bench.metrics import Choices, Floats, PerItem, choice_scores
from tutelage.evaluation.statistics import paired_difference, wilson
from tutelage.evaluation.verdicts import MIN_ITEMS, spoken_p

Outcome = Literal["above", "not above chance", "shortcut", "too few items", "figure"]


@dataclass(frozen=True)
class Baseline:
    """A rival that does not read the question. value: share right; values: for each item, in `items` (None: all)."""

    name: str
    value: float
    values: Floats
    items: list[int] | None = None


@dataclass(frozen=True)
class Worth:
    outcome: Outcome
    text: str


def option_baselines(items: Sequence[Choices]) -> list[Baseline]:
    """Guessing, the most frequent position of the right answer, the longest option and the shortest; what ties is
    shared among those that tie."""
    chance = np.array([len(item.gold) / len(item.logprobs) for item in items])
    found = [Baseline("chance", float(chance.mean()), chance)]
    common = Counter(item.gold[0] for item in items).most_common(1)[0][0]
    place = np.array([float(common in item.gold) for item in items])
    # Where every right answer stands in one place the data were never shuffled: the place says nothing.
    if 0 < place.mean() < 1:
        found.append(Baseline("majority position", float(place.mean()), place))
    if any(len(set(item.chars)) > 1 for item in items):
        for name, sign in (("longest option", 1.0), ("shortest option", -1.0)):
            values = np.array([_share_of_best(sign * item.chars, item.gold) for item in items])
            found.append(Baseline(name, float(values.mean()), values))
    return found


def answer_only(items: Sequence[Choices], metric: str, asked: Sequence[int]) -> Baseline | None:
    """The model itself without the question: share right by the same normalisation, over the items so asked."""
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


def worth(one: PerItem, baselines: Sequence[Baseline], chance: float | None, metric: str) -> Worth:
    """Whether the score is above chance, and above everything that needs no question; by paired tests at 5 %."""
    n = len(one.values)
    shown = f"{100 * one.values.mean():.1f} %"
    if n < MIN_ITEMS:
        return Worth("too few items", f"n too small: {n} items say nothing; 50 to 100 items are needed")
    guess = next((each for each in baselines if each.name == "chance"), None)
    if guess is None and chance:
        guess = Baseline("chance", chance, np.full(n, chance))
    lost = []
    for rival in ([guess] if guess else []) + [each for each in baselines if each.name != "chance"]:
        mine = one.values if rival.items is None else one.values[rival.items]
        difference = paired_difference(mine, rival.values)
        if not (difference.value > 0 and difference.p < 0.05):
            lost.append((rival, difference))
    if not lost:
        return Worth("above", f"above chance and above every shortcut (n = {n})")
    rival, difference = lost[0]
    few = f"; n too small to tell: {n} items, 50 to 100 are needed" if n < 50 else ""
    if rival.name == "chance":
        wanted = wilson(float(one.values.sum()), n)
        reach = "" if wanted.low is None else f" (interval {100 * wanted.low:.1f} to {100 * (wanted.high or 0):.1f})"
        outcome: Outcome = "too few items" if n < 50 else "not above chance"
        return Worth(outcome, f"not above chance: {shown}{reach} against {100 * rival.value:.1f} %{few}")
    worst, difference = max(lost, key=lambda pair: pair[0].value)
    return Worth(
        "shortcut",
        f"shortcut: no better than {_SPOKEN[worst.name]} ({100 * worst.value:.1f} % against {shown}, "
        f"{spoken_p(difference)}){few}",
    )


_SPOKEN = {
    "majority position": "always taking the most frequent position",
    "longest option": "always taking the longest option",
    "shortest option": "always taking the shortest option",
    "answer only": "the same model without the question",
    "chance": "guessing",
}


def _share_of_best(scores: Floats, gold: tuple[int, ...]) -> float:
    best = np.flatnonzero(scores == scores.max())
    return len(set(best.tolist()) & set(gold)) / len(best)
