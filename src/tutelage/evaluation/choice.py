"""Recommend a classifier: the smallest one that no other is significantly better than."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TypedDict

from tutelage.evaluation.abstention import PRECISION, Abstention
from tutelage.evaluation.figures import Comparison
from tutelage.store.format import listing


class Choice(TypedDict):
    """`use`: name of the recommended classifier; `text`: the recommendation in words; `megabytes`: size of each one.

    answers: for each classifier that can reach the target precision, the threshold and the share of texts above it.
    """

    task: str
    use: str
    text: str
    megabytes: dict[str, float]
    answers: dict[str, dict[str, float]]


def choose(
    task: str, megabytes: Mapping[str, float], comparisons: Sequence[Comparison], measure: str, nothing: str, n: int,
    answers: Mapping[str, Abstention | None], unit: str = "points",
    unnamed: Collection[str] = (),
) -> Choice:  # fmt: skip
    """Choose by one measure. megabytes: size of each classifier. nothing: the baseline that reads no text (majority
    class). answers: threshold of each (`abstention`). unit: of the differences; points have one digit. unnamed:
    classifiers that are only mentioned if they are recommended or beaten by the recommended one.

    A larger classifier is preferred only if the difference is resolved, not if its score is merely higher.
    """
    better = {(c["a"], c["b"]): c for c in comparisons if c["measure"] == measure and c["outcome"] == "better"}
    better |= {(c["b"], c["a"]): c for c in comparisons if c["measure"] == measure and c["outcome"] == "worse"}
    by_size = sorted(megabytes, key=lambda name: (name != nothing, megabytes[name], name))
    use = next((name for name in by_size if not any(b == name for _, b in better)), by_size[-1])
    rest = by_size[by_size.index(use) + 1 :]
    larger = [name for name in rest if (use, name) not in better and name not in unnamed]
    beaten = [name for name in by_size if (use, name) in better]
    sure = {name: one for name in by_size if (one := answers.get(name)) is not None}
    found = Choice(
        task=task, use=use, text="", megabytes={name: round(megabytes[name], 3) for name in by_size},
        answers={name: {key: round(value, 4) for key, value in asdict(one).items()} for name, one in sure.items()},
    )  # fmt: skip
    if use == nothing:
        found["text"] = f"nothing is shown to be better than the {nothing} on {n} held-out texts"
        return found
    said = [f"use {use} ({size(megabytes[use])})"]
    if beaten:
        named = listing([f"{name} by {_by(better[use, name], unit)}" for name in beaten])
        said.append(f"it is better than {named}")
    if larger:
        named = listing([f"{name} ({size(megabytes[name])})" for name in larger])
        said.append(f"{named} {'is' if len(larger) == 1 else 'are'} not shown to be better on {n} held-out texts")
    if use in sure and sure[use].share < 1:
        said.append(
            f"where its probability is at least {sure[use].at_least:.4f} it is right in {100 * PRECISION:.0f} % or "
            f"more: {100 * sure[use].share:.0f} % of the texts"
        )
    found["text"] = "; ".join(said)
    return found


def size(megabytes: float) -> str:
    return f"{megabytes:,.0f} MB" if megabytes >= 10 else f"{megabytes:.2g} MB"


def _by(comparison: Comparison, unit: str) -> str:
    low, high = sorted((abs(comparison["low"] or 0.0), abs(comparison["high"] or 0.0)))
    digits = 1 if unit == "points" else 2
    return f"{abs(comparison['difference'] or 0.0):.{digits}f} {unit} [{low:.{digits}f}, {high:.{digits}f}]"
