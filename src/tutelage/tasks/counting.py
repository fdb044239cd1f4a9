"""Counting a letter: a toy whose answers can be checked, made from the data seed; it needs no corpus."""

from __future__ import annotations

import random

from tutelage.tasks.task import made_task

LETTERS, LONGEST = "abc", 6


def make(draw: random.Random) -> tuple[str, str]:
    word = [draw.choice(LETTERS) for _ in range(draw.randint(2, LONGEST))]
    wanted = draw.choice(LETTERS)
    return f"How many {wanted} in {' '.join(word)}?", str(word.count(wanted))


TASK = made_task("counting", "counting letters", make, 1500, 150)  # of about 3,000 different prompts
