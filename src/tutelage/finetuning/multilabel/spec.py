"""Spec of multi-label classification."""

from __future__ import annotations

from dataclasses import replace

from tutelage.finetuning.classify.spec import suggest
from tutelage.finetuning.multilabel.config import MultilabelConfig
from tutelage.finetuning.spec import method
from tutelage.store.late import late
from tutelage.store.stage import Headline

SPEC = replace(
    method("multilabel", version=5, title="Multi-label classification", config=MultilabelConfig, makes="classifier"),
    suggest=suggest,
    heldout="label sets",
    headline=("train_texts", "heldout_texts", "heldout_exact_match"),
    glance=(
        Headline("micro-F1", "Micro-F1 of all labels"),
        Headline("exact match", "Texts with exactly the right labels"),
    ),
    result_facts=late("tutelage.finetuning.classify.forecast:figures"),
    rules=late("tutelage.finetuning.classify.rules:rules"),
)
