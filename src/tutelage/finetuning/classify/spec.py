"""Classification as a stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.finetuning.classify.config import ClassifyConfig
from tutelage.finetuning.spec import audit_with, needs_of, own_file
from tutelage.store.events import EventLog
from tutelage.store.late import late
from tutelage.store.stage import Headline, Job, StageSpec


def _run(job: Job) -> dict[str, Any]:
    from tutelage.finetuning.classify.stage import classify

    return classify(job)


def _why_not(config: ClassifyConfig, inputs: Mapping[str, Path]) -> str | None:
    from tutelage.finetuning.classify.stage import why_not

    return why_not(config, inputs)


def _audit(config: ClassifyConfig, log: EventLog) -> int | None:
    from tutelage.finetuning.classify.stage import own_rows

    return audit_with(config, log, own_rows)


def _suggest(parameters: int, rows: int) -> dict[str, Any]:
    """Adapters for a model of 30M parameters or more; more passes where there are few rows."""
    epochs = 3 if rows >= 1000 else 5 if rows >= 200 else 10
    if parameters < 30e6:
        return {"training": {"epochs": epochs}}
    return {
        "context_length": 256,
        "max_tokens": 256,
        "lora": {"rank": 16, "alpha": 32},
        "training": {
            "optimizer": "adamw", "learning_rate": 5e-4, "embedding_rate": 1.0, "batch_rows": 4, "epochs": epochs,
            "warmup_steps": 5,
        },
    }  # fmt: skip


SPEC = StageSpec(
    kind="classify",
    version=3,
    title="Classification finetuning",
    config=ClassifyConfig,
    run=_run,
    makes="classifier",
    needs=needs_of,
    seeds=("training", "data"),
    files=own_file,
    audit=_audit,
    why_not=_why_not,
    trains=True,
    suggest=_suggest,
    heldout="labels",
    headline=("train_texts", "heldout_texts", "heldout_accuracy"),
    glance=(
        Headline("accuracy", "Classification accuracy"),
        Headline("macro-F1", "Classification macro-F1"),
    ),
    section=late("tutelage.finetuning.classify.report:section"),
    sentence=late("tutelage.finetuning.classify.report:sentence"),
    forecast=late("tutelage.finetuning.classify.forecast:forecast"),
    result_facts=late("tutelage.finetuning.classify.forecast:figures"),
    rules=late("tutelage.finetuning.classify.rules:rules"),
)
