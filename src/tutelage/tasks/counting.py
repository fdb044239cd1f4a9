"""Counting a letter: a toy whose answers can be checked, made from the data seed; it needs no corpus."""

from __future__ import annotations

import random
from collections.abc import Iterable

from tutelage.tasks.task import Examples, Row, Task, exactly, made_examples

LETTERS, LONGEST = "abc", 6


def make(draw: random.Random) -> tuple[str, str]:
    word = [draw.choice(LETTERS) for _ in range(draw.randint(2, LONGEST))]
    wanted = draw.choice(LETTERS)
    return f"How many {wanted} in {' '.join(word)}?", str(word.count(wanted))


def examples(train: Iterable[Row], heldout: Iterable[Row], seed: int) -> Examples:
    """1,500 to train on and 150 held out, of about 3,000."""
    return made_examples(make, seed, 1500, 150)


TASK = Task(
    name="counting",
    title="counting letters",
    kind="answers",
    columns=(),
    examples=examples,
    grade=exactly,
    rule="exact-answer rule",
    references="the right answers",
)
