"""Multi-label classification as a stage."""

from __future__ import annotations

from tutelage.finetuning.classify.spec import suggest
from tutelage.finetuning.multilabel.config import MultilabelConfig
from tutelage.finetuning.spec import audit_of, needs_of, own_file
from tutelage.store.late import late
from tutelage.store.stage import Headline, StageSpec

SPEC = StageSpec(
    kind="multilabel",
    version=5,
    title="Multi-label classification",
    config=MultilabelConfig,
    run=late("tutelage.finetuning.multilabel.stage:multilabel"),
    makes="classifier",
    needs=needs_of,
    seeds=("training", "data"),
    files=own_file,
    audit=audit_of("tutelage.finetuning.multilabel.rows"),
    preflight=late("tutelage.finetuning.multilabel.preflight:preflight"),
    trains=True,
    suggest=suggest,
    heldout="label sets",
    headline=("train_texts", "heldout_texts", "heldout_exact_match"),
    glance=(
        Headline("micro-F1", "Micro-F1 of all labels"),
        Headline("exact match", "Texts with exactly the right labels"),
    ),
    section=late("tutelage.finetuning.multilabel.report:section"),
    sentence=late("tutelage.finetuning.multilabel.report:sentence"),
    forecast=late("tutelage.finetuning.multilabel.forecast:forecast"),
    result_facts=late("tutelage.finetuning.classify.forecast:figures"),
    rules=late("tutelage.finetuning.classify.rules:rules"),
)
