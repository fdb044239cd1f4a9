"""Rules of thumb for instruction finetuning."""

from __future__ import annotations

from tutelage.finetuning.rules import (
    LARGE_MODEL_RULE,
    MARKUP_RULES,
    SHARED,
    epochs_rule,
    few_rows_rule,
    rate_rule,
)
from tutelage.store.stage import Rule

RULES = (
    *MARKUP_RULES,
    epochs_rule("instruct-epochs", 3, 2, "1 to 3 passes of instruction finetuning", "Raschka; Tulu 3: 2, Olmo 3: 3"),
    rate_rule("instruct-learning-rate", 1.0, 0.25, "At most the learning rate of pretraining",
              "Tulu 3, SmolLM3: 2e-5 after 2e-4"),
    LARGE_MODEL_RULE,
    few_rows_rule("instruct-rows", 500, "a few hundred teach the form of an answer, not its content",
                  "Zhou et al. 2023 (LIMA): 1,000 good ones"),
    *SHARED,
)  # fmt: skip


def rules() -> tuple[Rule, ...]:
    return RULES
