"""Sums of two small numbers: a toy task with verifiable answers, generated from the data seed without a corpus."""

from __future__ import annotations

import random

from tutelage.tasks.task import made_task

BELOW = 50


def make(draw: random.Random) -> tuple[str, str]:
    one, other = draw.randrange(BELOW), draw.randrange(BELOW)
    return f"What is {one} + {other}?", str(one + other)


TASK = made_task("arithmetic", "sums", make, 2000, 200)  # out of 2,500 distinct prompts
