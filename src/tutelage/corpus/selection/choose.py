"""What is kept under a budget: quality, relevance and diversity against one another, by stated weights.

Merit of a text is its weighted quality and relevance, as ranks from 0 to 1. The value of a selection is the sum over
its bytes of (1 - w) merit, plus w times the diversity: over topics, F log(1 + m / F), m the bytes kept of a topic, each
counted by its merit, and F the fair share of a topic. So a topic that is new counts, and one of junk hardly does. The
sum is submodular (Lin & Bilmes 2011); the greedy choice takes the text whose next byte adds most: its merit, less up to
the share w of it as its topic fills (half of that at its fair share).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.selection.features import Floats

Places = NDArray[np.int64]
_LONG = 0.1  # of the budget
REASONS = {"quality": "lower quality", "relevance": "less relevant", "diversity": "its topic has enough"}


@dataclass(frozen=True)
class Choice:
    """kept: of each text whether it is. gains: of each measure in force what a text would add for each byte at the end,
    0 to 1 (for diversity that of its topic)."""

    kept: NDArray[np.bool_]
    gains: dict[str, Floats]


def choose(
    merits: Mapping[str, Floats], topics: Places, sizes: Places, weights: Mapping[str, float], budget: float
) -> Choice:
    """Texts of at most `budget` bytes in all. merits: ranks of quality and of relevance, 0 to 1 [texts]; topics and
    sizes in bytes [texts]; weights: of the merits and of `diversity`, adding up to 1. The first text that is too long
    for what is left ends the choice, one of more than a tenth of the budget is passed over; ties go to the earlier.
    """
    merit, spread = _merit(merits, weights, len(sizes)), weights.get("diversity", 0.0)
    names, topic = np.unique(topics, return_inverse=True)
    fair = max(1e-9, budget / max(1, len(names)) * float(np.average(merit, weights=sizes)))
    mass = np.zeros(len(names))
    order = np.lexsort((np.arange(len(sizes)), -merit))
    queues: list[list[int]] = [[] for _ in names]
    for place in order[::-1].tolist():  # the best at the end, where it is taken from
        queues[topic[place]].append(place)
    kept, left = np.zeros(len(sizes), bool), budget

    def entry(number: int) -> tuple[float, int, int]:
        best = queues[number][-1]
        return -merit[best] * (1 - spread + spread * fair / (fair + mass[number])), best, number

    heap = [entry(number) for number in range(len(names))]
    heapq.heapify(heap)
    while heap:
        _, place, number = heapq.heappop(heap)
        queues[number].pop()
        if sizes[place] <= left:
            kept[place] = True
            left -= sizes[place]
            mass[number] += merit[place] * sizes[place]
        elif sizes[place] <= _LONG * budget:
            break
        if queues[number]:
            heapq.heappush(heap, entry(number))
    gains = {name: merits[name] for name in merits if name in weights}
    if spread:
        gains["diversity"] = fair / (fair + mass)[topic]
    return Choice(kept, gains)


def _merit(merits: Mapping[str, Floats], weights: Mapping[str, float], count: int) -> Floats:
    """Weighted mean of the merits in force; 1 for every text where there are none."""
    given = {name: weights[name] for name in merits if weights.get(name)}
    if not given:
        return np.ones(count)
    return np.sum([weight * merits[name] for name, weight in given.items()], axis=0) / sum(given.values())


def reasons(choice: Choice, weights: Mapping[str, float]) -> list[str]:
    """Of each text the measure by which it lies furthest below the mean of what is kept (empty for kept ones)."""
    names = list(choice.gains)
    if not choice.kept.any():
        return [REASONS[names[0]]] * len(choice.kept)
    lacks = np.stack(
        [weights[name] * (float(choice.gains[name][choice.kept].mean()) - choice.gains[name]) for name in names]
    )
    worst = lacks.argmax(axis=0)
    return ["" if kept else REASONS[names[at]] for kept, at in zip(choice.kept.tolist(), worst.tolist(), strict=True)]
