"""Sorting digits: a toy task with verifiable answers, generated from the data seed without a corpus."""

from __future__ import annotations

import random

from tutelage.tasks.task import made_task

DIGITS = 3


def make(draw: random.Random) -> tuple[str, str]:
    digits = [draw.randrange(10) for _ in range(DIGITS)]
    return f"Sort {' '.join(map(str, digits))}", " ".join(map(str, sorted(digits)))


# Out of 1,000 distinct prompts: fewer if not all are drawn.
TASK = made_task("sorting", "sorting digits", make, 800, 80)
