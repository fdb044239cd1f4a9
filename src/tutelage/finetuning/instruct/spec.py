"""Instruction finetuning as a stage."""

from __future__ import annotations

from tutelage.finetuning.instruct.config import InstructConfig
from tutelage.finetuning.spec import audit_of, needs_of, own_file
from tutelage.store.late import late
from tutelage.store.stage import Headline, StageSpec, Way


def _needs(config: InstructConfig) -> tuple[str, ...]:
    found = needs_of(config)
    return (*found, "corpus") if config.replay and "corpus" not in found else found


def suggest(parameters: int, rows: int) -> dict[str, Way]:
    """Adapters for a model of 30M parameters or more; two passes where there are few rows."""
    epochs = 1 if rows >= 2000 else 2
    if parameters < 30e6:
        return {"instruct": Way({"training": {"epochs": epochs}})}
    training = {"optimizer": "adamw", "learning_rate": 5e-4, "batch_rows": 2, "epochs": epochs, "warmup_steps": 5}
    return {"instruct": Way({"lora": {"rank": 16, "alpha": 32}, "training": training})}


SPEC = StageSpec(
    kind="instruct",
    version=9,
    title="Instruction finetuning",
    config=InstructConfig,
    run=late("tutelage.finetuning.instruct.stage:instruct"),
    makes="chat model",
    needs=_needs,
    seeds=("training", "data"),
    files=own_file,
    audit=audit_of("tutelage.finetuning.instruct.stage"),
    preflight=late("tutelage.finetuning.instruct.stage:preflight"),
    why_not=late("tutelage.finetuning.instruct.stage:why_not"),
    trains=True,
    suggest=suggest,
    heldout="answers",
    headline=("rows", "heldout_rows", "heldout_loss"),
    glance=(
        Headline("answer loss", "Held-out loss of the answers", ("parent",)),
        Headline("chrF", "Instruction, chrF", ("baselines", "base")),
        Headline("ROUGE-L", "Instruction, ROUGE-L", ("baselines", "base")),
        Headline("ends by itself", "Answers that end by themselves", ("base",)),
    ),
    section=late("tutelage.finetuning.instruct.report:section"),
    sentence=late("tutelage.finetuning.instruct.report:sentence"),
    forecast=late("tutelage.finetuning.instruct.forecast:forecast"),
    result_facts=late("tutelage.finetuning.instruct.forecast:figures"),
    rules=late("tutelage.finetuning.instruct.rules:rules"),
)
