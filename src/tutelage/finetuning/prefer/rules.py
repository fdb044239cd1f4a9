"""Rules of thumb for preference finetuning."""

from __future__ import annotations

from tutelage.finetuning.rules import epochs_rule, few_rows_rule, quantisation_rule, rate_rule
from tutelage.store.stage import Facts, Finding, Rule


def beta(f: Facts) -> Finding | None:
    value = f["beta"]
    low, high, usual = (1.0, 10.0, 5.0) if f["loss"] == "sigmoid_norm" else (0.01, 0.5, 0.1)
    if low <= value <= high:
        return None
    effect = "holds the model to the reference" if value > high else "lets the model run away from the reference"
    return (
        "warning",
        f"beta {value:g} {effect}; {low:g} to {high:g} is usual with this loss",
        f"--set {f['key']}.beta={usual:g}",
    )


def drift(f: Facts) -> Finding | None:
    if f["drift_prompts"] > 0:
        return None
    return "note", "nobody watches whether answers grow longer", f"--set {f['key']}.drift_prompts=48"


RULES = (
    rate_rule("preference-learning-rate", 0.2, 0.1, "At most a fifth of the instruction rate, about a tenth",
              "Tulu 3: 5e-7 after 5e-6; SmolLM3"),
    Rule("beta", "beta 0.01 to 0.5 (summed), 1 to 10 (length-normalised)",
         "Rafailov et al. 2023; Tulu 3: 5, normalised", ("key", "beta", "loss"), beta),
    epochs_rule("preference-epochs", 3, 1, "One pass of preference finetuning, three at most", "Tulu 3, SmolLM3: 1"),
    Rule("drift", "Watch the length of the answers", "Park et al. 2024; Raschka 2024, chapter 7",
         ("key", "drift_prompts"), drift),
    quantisation_rule(),
    few_rows_rule("preference-pairs", 200, "few to learn a preference from and to measure it by",
                  "Zhou et al. 2023, by analogy"),
)  # fmt: skip


def rules() -> tuple[Rule, ...]:
    return RULES
