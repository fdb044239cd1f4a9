"""Rules of thumb for preference finetuning."""

from __future__ import annotations

from tutelage.finetuning.prefer.defaults import KNOWN
from tutelage.finetuning.rules import (
    MARKUP_RULES,
    SHARED,
    epochs_rule,
    few_rows_rule,
    rate_rule,
)
from tutelage.store.stage import Facts, Finding, Rule

BALANCED = (0.995, 1.34)  # 1 to 4/3, with room for rounding


def beta(f: Facts) -> Finding | None:
    value, known = f["beta"], KNOWN[f["loss"]]
    (low, high), usual = known.usual, known.beta
    if low <= value <= high:
        return None
    if known.reference:
        effect = "ties the model to the reference" if value > high else "lets the model drift far from the reference"
    else:
        effect = f"is a {'large' if value > high else 'small'} scale of the reward"
    return (
        "warning",
        f"beta {value:g} {effect}; {low:g} to {high:g} is usual with this loss",
        f"--set {f['key']}.beta={usual:g}",
    )


def balance(f: Facts) -> Finding | None:
    """Good and bad answers should have about the same total weight, the good ones slightly more."""
    good, bad = f["desirable_weight"] * f["result.desirable"], f["undesirable_weight"] * f["result.undesirable"]
    if not bad or BALANCED[0] <= (share := good / bad) <= BALANCED[1]:
        return None
    counts = f"{f['result.desirable']:,} good and {f['result.undesirable']:,} bad answers"
    if share > BALANCED[1]:
        fix = f"undesirable_weight={0.8 * good / f['result.undesirable']:.3g}"
    else:
        fix = f"desirable_weight={1.25 * bad / f['result.desirable']:.3g}"
    return (
        "warning",
        f"{counts}: the total weight of the good ones is {share:.2g} times that of the bad ones; 1 to 1.33 is advised",
        f"--set {f['key']}.{fix}",
    )


def drift(f: Facts) -> Finding | None:
    if f["drift_prompts"] > 0:
        return None
    return "note", "drift_prompts 0: the length of the answers is not monitored", f"--set {f['key']}.drift_prompts=48"


RULES = (
    *MARKUP_RULES,
    rate_rule("preference-learning-rate", 0.2, 0.1, "At most a fifth of the instruction rate, about a tenth",
              "Tulu 3: 5e-7 after 5e-6; SmolLM3"),
    Rule("beta", "beta in the usual range of the loss: 0.01 to 0.5 (DPO), 1 to 10 (length-normalised), 2 to 10 (SimPO)",
         "Rafailov et al. 2023; Tulu 3: 5, normalised; Meng et al. 2024", ("key", "beta", "loss"), beta),
    Rule("judged-balance", "Total weight of good answers 1 to 4/3 of that of bad ones",
         "Ethayarajh et al. 2024, section 4.2",
         ("key", "desirable_weight", "undesirable_weight", "result.desirable", "result.undesirable"), balance),
    epochs_rule("preference-epochs", 3, 1, "One pass of preference finetuning, three at most", "Tulu 3, SmolLM3: 1"),
    Rule("drift", "Monitor the length of the answers", "Park et al. 2024; Raschka 2024, chapter 7",
         ("key", "drift_prompts"), drift),
    few_rows_rule("preference-pairs", 200, "few to learn and to measure a preference",
                  "Zhou et al. 2023, by analogy"),
    *SHARED,
)  # fmt: skip


def rules() -> tuple[Rule, ...]:
    return RULES
