"""Rules of thumb for the evaluation."""

from __future__ import annotations

import math

from tutelage.store.stage import Facts, Finding, Rule

ENOUGH = 100


def prompts(f: Facts) -> Finding | None:
    count = f["evaluate.prompts"]
    if count >= ENOUGH or not f["result.prompt_sets"]:
        return None
    return (
        "note",
        f"{count} prompts are asked: a share near one half is then known to ±{98 / math.sqrt(count):.0f} points",
        f"--set {f['key']}.prompts=150",
    )


RULES = (
    Rule(
        "prompts",
        "At least 100 prompts",
        "Wilson interval of a share: ±10 points at n = 100",
        ("key", "evaluate.prompts", "result.prompt_sets"),
        prompts,
    ),
)


def rules() -> tuple[Rule, ...]:
    return RULES
