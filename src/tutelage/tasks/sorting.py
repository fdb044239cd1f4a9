"""Sorting digits: a toy whose answers can be checked, made from the data seed; it needs no corpus."""

from __future__ import annotations

import random
from collections.abc import Iterable

from tutelage.tasks.task import Examples, Row, Task, exactly, made_examples

DIGITS = 3


def make(draw: random.Random) -> tuple[str, str]:
    digits = [draw.randrange(10) for _ in range(DIGITS)]
    return f"Sort {' '.join(map(str, digits))}", " ".join(map(str, sorted(digits)))


def examples(train: Iterable[Row], heldout: Iterable[Row], seed: int) -> Examples:
    """Of the thousand different prompts 800 to train on and up to 80 held out."""
    return made_examples(make, seed, 800, 80)


TASK = Task(
    name="sorting",
    title="sorting digits",
    kind="answers",
    columns=(),
    examples=examples,
    grade=exactly,
    rule="exact-answer rule",
    references="the right answers",
)
