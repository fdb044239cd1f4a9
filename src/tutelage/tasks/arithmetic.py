"""Sums of two small numbers: a toy whose answers can be checked, made from the data seed; it needs no corpus."""

from __future__ import annotations

import random
from collections.abc import Iterable

from tutelage.tasks.task import Examples, Row, Task, exactly, made_examples

BELOW = 50


def make(draw: random.Random) -> tuple[str, str]:
    one, other = draw.randrange(BELOW), draw.randrange(BELOW)
    return f"What is {one} + {other}?", str(one + other)


def examples(train: Iterable[Row], heldout: Iterable[Row], seed: int) -> Examples:
    """Of the 2,500 different prompts 2,000 to train on and 200 held out."""
    return made_examples(make, seed, 2000, 200)


TASK = Task(
    name="arithmetic",
    title="sums",
    kind="answers",
    columns=(),
    examples=examples,
    grade=exactly,
    rule="exact-answer rule",
    references="the right answers",
)
