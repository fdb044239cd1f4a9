"""Rules of thumb for reward models."""

from __future__ import annotations

from tutelage.finetuning.rules import SHARED, epochs_rule, few_rows_rule
from tutelage.store.stage import Rule

RULES = (
    epochs_rule("reward-epochs", 2, 1, "One pass over the pairs of a reward model; it overfits quickly",
                "Ouyang et al. 2022, appendix C.2; Tulu 3: 1"),
    few_rows_rule("reward-pairs", 500, "few to learn and to measure a reward", "Gao et al. 2023"),
    *SHARED,
)  # fmt: skip


def rules() -> tuple[Rule, ...]:
    return RULES
