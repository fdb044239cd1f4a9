"""Spec of finetuning for translation."""

from __future__ import annotations

from dataclasses import replace

from tutelage.finetuning.instruct.spec import suggest
from tutelage.finetuning.spec import audit_of, method, own_file
from tutelage.finetuning.translate.config import TranslateConfig
from tutelage.store.late import late
from tutelage.store.stage import Headline, Way


def _files(config: TranslateConfig) -> dict[str, str]:
    return own_file(config) | ({} if config.target_file is None else {"target_file": config.target_file})


def _suggest(parameters: int, rows: int) -> dict[str, Way]:
    return {"translate": suggest(parameters, rows)["instruct"]}


SPEC = replace(
    method("translate", version=6, title="Translation finetuning", config=TranslateConfig, makes="chat model"),
    needs=lambda config: ("model", "corpus") if config.replay else ("model",),
    files=_files,
    audit=audit_of("tutelage.finetuning.translate.stage"),
    preflight=late("tutelage.finetuning.translate.stage:preflight"),
    suggest=_suggest,
    heldout="answers",
    headline=("rows", "heldout_rows", "heldout_loss"),
    glance=(
        Headline("chrF", "Translation, chrF", ("baselines", "base")),
        Headline("BLEU", "Translation, BLEU", ("baselines", "base")),
    ),
    sentence=late("tutelage.finetuning.instruct.report:sentence"),
    result_facts=late("tutelage.finetuning.instruct.forecast:figures"),
    rules=late("tutelage.finetuning.rules:shared"),
)
