"""Over-optimisation alarm: a model passes a rule more often than the references do, or its answers are too uniform.

A rule is a proxy. A model that passes it more often than the references, or whose answers have lost their diversity,
has learned the rule instead of the task (Gao et al. 2023 for reward models; Kirk et al. 2024 for diversity).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.metrics import distinct_n, words
from tutelage.evaluation.paired import Resampling, compare_shares
from tutelage.evaluation.statistics import randomised
from tutelage.evaluation.verdicts import MIN_ITEMS
from tutelage.store.format import percent

CLEARLY = 2 / 3  # a ratio of diversities below this counts as a clear loss
OPENING = 3  # words

Kind = Literal["rule", "distinct-2", "openings"]
_LABELS = {"distinct-2": "distinct-2", "openings": f"different openings ({OPENING} words)"}


class Sign(TypedDict):
    """One sign of over-optimisation: the model's figure and the one it is compared with."""

    kind: Kind
    value: float
    against: str
    other: float
    p: float


class Alarm(TypedDict):
    """`who` is over-optimised according to `signs`; `text` states both figures of each sign."""

    who: str
    task: str
    signs: list[Sign]
    text: str


def alarm(
    who: str,
    task: str,
    texts: Sequence[str],
    passed: Sequence[bool],
    rule: str,
    before: tuple[str, Sequence[str]] | None,
    references: tuple[str, Sequence[str], Sequence[bool]],
    how: Resampling,
) -> Alarm | None:
    """The alarm for one model's answers to some prompts; None if there is no sign.

    passed: whether each answer passes the rule (empty: no rule). before: name and answers of the parent chat model.
    references: name, texts, and which of them pass. Every sign is a paired test on the same prompts at 1 - confidence,
    with `MIN_ITEMS` or more; diversity is compared at equal length, prompt by prompt.
    """
    name, known, known_passed = references
    signs: list[Sign] = []
    said: list[str] = []
    if len(texts) >= MIN_ITEMS and passed:
        found = compare_shares(who, name, "", passed, known_passed, how)
        if found["outcome"] == "better":
            mine, theirs = float(np.mean(passed)), float(np.mean(known_passed))
            signs.append({"kind": "rule", "value": mine, "against": name, "other": theirs, "p": float(found["p"] or 0)})
            said.append(f"{percent(mine)} of its answers pass the {rule}, against {percent(theirs)} of {name}")
    others = (*((before,) if before else ()), (name, known))
    for kind, measure in _VARIETY.items():
        beside = [one for other, answers in others if (one := _variety(kind, measure, texts, other, answers, how))]
        if found_here := [one for one in beside if _is_lost(one, how)]:
            signs += found_here
            said.append(_said(beside, before[0] if before else None))
    if not signs:
        return None
    alike = "it gives nearly the same answer to different prompts"
    what = "it is learning the rule, not the task" if signs[0]["kind"] == "rule" else alike
    return {"who": who, "task": task, "signs": signs, "text": f"{who}: {'; '.join(said)}: {what}"}


def at_equal_length(first: Sequence[str], second: Sequence[str]) -> tuple[list[list[str]], list[list[str]]]:
    """The words of both systems' answers, those to one prompt truncated to the shorter of the two."""
    pairs = [(words(a), words(b)) for a, b in zip(first, second, strict=True)]
    cut = [min(len(a), len(b)) for a, b in pairs]
    return [a[:n] for (a, _), n in zip(pairs, cut, strict=True)], [b[:n] for (_, b), n in zip(pairs, cut, strict=True)]


def _distinct(answers: Sequence[Sequence[str]]) -> float:
    return distinct_n([" ".join(answer) for answer in answers], 2)


def _openings(answers: Sequence[Sequence[str]]) -> float:
    """Share of distinct openings (first words) among the answers."""
    return len({tuple(answer[:OPENING]) for answer in answers}) / len(answers)


_VARIETY: dict[Kind, Callable[[Sequence[Sequence[str]]], float]] = {"distinct-2": _distinct, "openings": _openings}


def _variety(
    kind: Kind,
    measure: Callable[[Sequence[Sequence[str]]], float],
    texts: Sequence[str],
    other: str,
    answers: Sequence[str],
    how: Resampling,
) -> Sign | None:
    """Diversity of both systems' answers at equal length; p by a randomisation test that swaps the two answers to a
    prompt (resampling prompts would count as a loss of diversity), 1 if the difference is too small to test."""
    mine, theirs = at_equal_length(texts, answers)
    kept = [at for at, cut in enumerate(mine) if cut]
    if len(kept) < MIN_ITEMS:
        return None
    mine, theirs = [mine[at] for at in kept], [theirs[at] for at in kept]
    value, reached = measure(mine), measure(theirs)

    def gap(swapped: NDArray[np.bool_]) -> float:
        a = [y if swap else x for x, y, swap in zip(mine, theirs, swapped, strict=True)]
        b = [x if swap else y for x, y, swap in zip(mine, theirs, swapped, strict=True)]
        return measure(a) - measure(b)

    p = 1.0 if value >= CLEARLY * reached else randomised(value - reached, gap, len(mine), how.draws, how.seed)[0]
    return {"kind": kind, "value": round(value, 6), "against": other, "other": round(reached, 6), "p": p}


def _is_lost(sign: Sign, how: Resampling) -> bool:
    return sign["value"] < CLEARLY * sign["other"] and sign["p"] < round(1 - how.confidence, 12)


def _said(beside: Sequence[Sign], before: str | None) -> str:
    """ "distinct-2 fell from 0.41 (instruct) to 0.084, of the references 0.82"."""
    parts = []
    for one in beside:
        if one["against"] == before and one["value"] < CLEARLY * one["other"]:
            parts.append(f"fell from {_share(one['other'])} ({before}) to {_share(one['value'])}")
        else:
            own = "" if parts else f"{_share(one['value'])}, "
            parts.append(f"{own}of {one['against']} {_share(one['other'])}")
    return f"{_LABELS[beside[0]['kind']]} {', '.join(parts)}"


def _share(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"
