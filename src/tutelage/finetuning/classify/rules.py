"""Rules of thumb for classification."""

from __future__ import annotations

from tutelage.finetuning.rules import SHARED, epochs_rule
from tutelage.store.stage import Facts, Finding, Rule

LARGE, FEW = 100e6, 5000


def freeze(f: Facts) -> Finding | None:
    if f["result.parameters"] < LARGE or f["result.rows"] >= FEW or f["result.lora"] or f["training.freeze_blocks"]:
        return None
    return (
        "note",
        f"{f['result.rows']:,} rows for {f['result.parameters']:,} parameters: adapters are as good as full "
        "finetuning, in a fraction of the memory",
        f"--set {f['key']}.lora={{rank: 16}} --set {f['key']}.training.optimizer=adamw "
        f"--set {f['key']}.training.learning_rate=0.0005",
    )


RULES = (
    epochs_rule("classifier-epochs", 10, 5, "At most 5 passes over classification data, 10 with few rows",
                "Raschka 2024, chapter 6"),
    Rule(
        "adapters",
        "With few labels, adapters or the last blocks of a large model suffice",
        "Raschka 2024: 98.3 % against 96.7 % for full finetuning; Hu et al. 2021",
        ("key", "result.parameters", "result.rows", "result.lora", "training.freeze_blocks"),
        freeze,
    ),
    *SHARED,
)  # fmt: skip


def rules() -> tuple[Rule, ...]:
    return RULES
