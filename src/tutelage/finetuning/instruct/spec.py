"""Instruction finetuning as a stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.finetuning.instruct.config import InstructConfig
from tutelage.finetuning.spec import audit_with, needs_of, own_file
from tutelage.store.events import EventLog
from tutelage.store.late import late
from tutelage.store.stage import Headline, Job, StageSpec


def _run(job: Job) -> dict[str, Any]:
    from tutelage.finetuning.instruct.stage import instruct

    return instruct(job)


def _needs(config: InstructConfig) -> tuple[str, ...]:
    found = needs_of(config)
    return (*found, "corpus") if config.replay and "corpus" not in found else found


def _why_not(config: InstructConfig, inputs: Mapping[str, Path]) -> str | None:
    from tutelage.finetuning.instruct.stage import why_not

    return why_not(config, inputs)


def _audit(config: InstructConfig, log: EventLog) -> int | None:
    from tutelage.finetuning.instruct.stage import own_rows

    return audit_with(config, log, own_rows)


def _suggest(parameters: int, rows: int) -> dict[str, Any]:
    """Adapters for a model of 30M parameters or more; two passes where there are few rows."""
    epochs = 1 if rows >= 2000 else 2
    if parameters < 30e6:
        return {"training": {"epochs": epochs}}
    return {
        "context_length": 1024,
        "lora": {"rank": 16, "alpha": 32},
        "training": {"optimizer": "adamw", "learning_rate": 5e-4, "batch_rows": 2, "epochs": epochs, "warmup_steps": 5},
    }


SPEC = StageSpec(
    kind="instruct",
    version=2,
    title="Instruction finetuning",
    config=InstructConfig,
    run=_run,
    makes="chat model",
    needs=_needs,
    seeds=("training", "data"),
    files=own_file,
    audit=_audit,
    why_not=_why_not,
    trains=True,
    suggest=_suggest,
    heldout="answers",
    headline=("rows", "heldout_rows", "heldout_loss"),
    glance=(
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
