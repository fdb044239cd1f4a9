"""Spec of instruction finetuning."""

from __future__ import annotations

from dataclasses import replace

from tutelage.finetuning.instruct.config import InstructConfig
from tutelage.finetuning.spec import audit_of, method, needs_of
from tutelage.store.late import late
from tutelage.store.stage import Headline, Way


def _needs(config: InstructConfig) -> tuple[str, ...]:
    found = needs_of(config)
    return (*found, "corpus") if config.replay and "corpus" not in found else found


def suggest(parameters: int, rows: int) -> dict[str, Way]:
    """Adapters for a model of 30M parameters or more; two passes over few rows."""
    epochs = 1 if rows >= 2000 else 2
    if parameters < 30e6:
        return {"instruct": Way({"training": {"epochs": epochs}})}
    training = {"optimizer": "adamw", "learning_rate": 5e-4, "batch_rows": 2, "epochs": epochs, "warmup_steps": 5}
    return {"instruct": Way({"lora": {"rank": 16, "alpha": 32}, "training": training})}


SPEC = replace(
    method("instruct", version=10, title="Instruction finetuning", config=InstructConfig, makes="chat model"),
    needs=_needs,
    audit=audit_of("tutelage.finetuning.instruct.stage"),
    preflight=late("tutelage.finetuning.instruct.stage:preflight"),
    why_not=late("tutelage.finetuning.instruct.stage:why_not"),
    suggest=suggest,
    heldout="answers",
    headline=("rows", "heldout_rows", "heldout_loss"),
    glance=(
        Headline("answer loss", "Held-out loss of the answers", ("parent",)),
        Headline("chrF", "Instruction, chrF", ("baselines", "base")),
        Headline("ROUGE-L", "Instruction, ROUGE-L", ("baselines", "base")),
        Headline("ends by itself", "Answers that end by themselves", ("base",)),
    ),
)
