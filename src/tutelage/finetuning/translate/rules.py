"""Rules of thumb for translation."""

from __future__ import annotations

from tutelage.finetuning.rules import epochs_rule, few_rows_rule
from tutelage.store.stage import Rule

RULES = (
    epochs_rule("translate-epochs", 5, 2, "1 to 5 passes over parallel text", "Raschka; Tulu 3: 2, Olmo 3: 3"),
    few_rows_rule("translate-rows", 1000, "some hundreds teach how to answer, not a language",
                  "Zhou et al. 2023 (LIMA): 1,000 rows teach a form"),
)  # fmt: skip


def rules() -> tuple[Rule, ...]:
    return RULES
