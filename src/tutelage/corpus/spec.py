"""The corpus as a stage."""

from __future__ import annotations

from typing import Any

from tutelage.corpus.config import CorpusConfig
from tutelage.store.late import late
from tutelage.store.stage import Job, StageSpec


def _run(job: Job) -> dict[str, Any]:
    from tutelage.corpus.benchmark_items import FILE
    from tutelage.corpus.stage import build_corpus

    items = job.inputs["items"] / FILE if "items" in job.inputs else None
    return build_corpus(
        job.config, out=job.out, log=job.log, seed=job.data_seed, work=job.work / "parts", items=items
    )  # fmt: skip


def _identity(config: CorpusConfig) -> dict[str, str]:
    from tutelage.corpus.stage import source_identity
    from tutelage.store.hashing import sha256_file

    found = {"source": source_identity(config)}
    if config.blocklist:
        from tutelage.corpus.private import blocklist_file

        found["blocklist"] = sha256_file(blocklist_file(config.blocklist))
    if config.select:
        from tutelage.corpus.selection.evidence import evidence_identity

        found |= evidence_identity(config.select)
    return found


SPEC = StageSpec(
    kind="corpus",
    version=8,
    title="Corpus",
    config=CorpusConfig,
    run=_run,
    makes="data",
    needs=lambda config: ("items",) if config.decontaminate else (),
    seeds=("data",),
    identity=_identity,
    headline=("train_documents", "heldout_documents", "bytes"),
    section=late("tutelage.corpus.report:section"),
    sentence=late("tutelage.corpus.report:sentence"),
    forecast=late("tutelage.corpus.forecast:forecast"),
    result_facts=late("tutelage.corpus.forecast:figures"),
    rules=late("tutelage.corpus.rules:rules"),
)
