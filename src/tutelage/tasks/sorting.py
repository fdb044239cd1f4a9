"""Sorting digits: a toy whose answers can be checked, made from the data seed; it needs no corpus."""

from __future__ import annotations

import random

from tutelage.tasks.task import made_task

DIGITS = 3


def make(draw: random.Random) -> tuple[str, str]:
    digits = [draw.randrange(10) for _ in range(DIGITS)]
    return f"Sort {' '.join(map(str, digits))}", " ".join(map(str, sorted(digits)))


TASK = made_task("sorting", "sorting digits", make, 800, 80)  # of the thousand different prompts, up to so many
