"""Counting a letter: a toy task with verifiable answers, generated from the data seed without a corpus."""

from __future__ import annotations

import random

from tutelage.tasks.task import made_task

LETTERS, LONGEST = "abc", 6


def make(draw: random.Random) -> tuple[str, str]:
    word = [draw.choice(LETTERS) for _ in range(draw.randint(2, LONGEST))]
    wanted = draw.choice(LETTERS)
    return f"How many {wanted} in {' '.join(word)}?", str(word.count(wanted))


TASK = made_task("counting", "counting letters", make, 1500, 150)  # out of about 3,000 distinct prompts
