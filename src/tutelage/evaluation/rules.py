"""Rules of thumb for the evaluation."""

from __future__ import annotations

import math

from tutelage.store.stage import Facts, Finding, Rule

ENOUGH = 100
DRAWS = 1000  # of the bootstrap
DOCUMENTS = 300


def prompts(f: Facts) -> Finding | None:
    count = f["evaluate.prompts"]
    if count >= ENOUGH or not f["result.prompt_sets"]:
        return None
    return (
        "note",
        f"{count} prompts: a share near one half is then known to ±{98 / math.sqrt(count):.0f} points",
        f"--set {f['key']}.prompts=150",
    )


def draws(f: Facts) -> Finding | None:
    count = f["evaluate.bootstrap"]
    if count >= DRAWS:
        return None
    said = f"intervals from {count} draws: their ends have an error of a tenth of their width or more"
    return "note", said, f"--set {f['key']}.bootstrap={DRAWS}"


def documents(f: Facts) -> Finding | None:
    count = f["evaluate.heldout_documents"]
    if count >= DOCUMENTS or f["baselines.heldout_bytes"] <= 0:
        return None
    return (
        "note",
        f"bits per byte of at most {count} documents; {DOCUMENTS} or more halve the width of the interval",
        f"--set {f['key']}.heldout_documents={DOCUMENTS}",
    )


RULES = (
    Rule(
        "prompts",
        "At least 100 prompts",
        "Wilson interval of a share: ±10 points at n = 100",
        ("key", "evaluate.prompts", "result.prompt_sets"),
        prompts,
    ),
    Rule(
        "bootstrap",
        "At least 1,000 draws for an interval",
        "Efron & Tibshirani 1993: 1,000 and more for the ends of an interval",
        ("key", "evaluate.bootstrap"),
        draws,
    ),
    Rule(
        "heldout-text",
        "Bits per byte of at least 300 documents",
        "standard error of a mean: it halves with four times the sample",
        ("key", "evaluate.heldout_documents", "baselines.heldout_bytes"),
        documents,
    ),
)


def rules() -> tuple[Rule, ...]:
    return RULES
