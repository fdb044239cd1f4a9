"""Specification of the tokenizer stage."""

from __future__ import annotations

from typing import Any

from tutelage.store.late import late
from tutelage.store.stage import Job, StageSpec
from tutelage.tokenizer.config import TokenizerConfig


def _run(job: Job) -> dict[str, Any]:
    from tutelage.tokenizer.stage import train_tokenizer

    return train_tokenizer(
        job.config, corpus=job.inputs["corpus"], out=job.out, log=job.log, seed=job.data_seed
    )  # fmt: skip


def _files(config: TokenizerConfig) -> dict[str, str]:
    return {"source": config.source} if config.source else {}


SPEC = StageSpec(
    kind="tokenizer",
    version=5,
    title="Tokenizer",
    config=TokenizerConfig,
    run=_run,
    makes="data",
    needs=lambda config: ("corpus",),
    seeds=("data",),
    files=_files,
    headline=("vocab_size", "bytes_per_token"),
    section=late("tutelage.tokenizer.report:section"),
    sentence=late("tutelage.tokenizer.report:sentence"),
    forecast=late("tutelage.tokenizer.forecast:forecast"),
    result_facts=late("tutelage.tokenizer.forecast:figures"),
    rules=late("tutelage.tokenizer.rules:rules"),
)
