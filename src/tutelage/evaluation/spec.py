"""The two stages of evaluation: rivals that need no model, and all models of a life together."""

from __future__ import annotations

from typing import Any, Literal

from tutelage.evaluation.config import BaselinesConfig, EvaluateConfig
from tutelage.store.config import Config
from tutelage.store.late import late
from tutelage.store.stage import Job, StageSpec


class Subject(Config):
    """A model to be measured: what it can do, what it was finetuned from, and which rows it leaves held out.

    `own_rows`: its held-out rows are of its own file, not those of a task that its parent shares.
    """

    name: str
    makes: Literal["language model", "chat model", "classifier"]
    parent: str | None = None
    heldout: Literal["", "labels", "answers", "pairs"] = ""
    task: str | None = None
    own_rows: bool = False


class Evaluation(Config):
    """The settings, the models (parents before children), and whether the corpus's held-out text is read."""

    evaluate: EvaluateConfig
    subjects: tuple[Subject, ...]
    text: bool


def _run_baselines(job: Job) -> dict[str, Any]:
    from tutelage.evaluation.baselines import measure_baselines

    return measure_baselines(
        job.config, corpus=job.inputs["corpus"], tokenizer=job.inputs["tokenizer"], out=job.out, log=job.log,
        seed=job.data_seed,
    )  # fmt: skip


def _run(job: Job) -> dict[str, Any]:
    from tutelage.evaluation.stage import evaluate

    return evaluate(job)


BASELINES = StageSpec(
    kind="baselines",
    version=2,
    title="Baselines",
    config=BaselinesConfig,
    run=_run_baselines,
    makes="figures",
    needs=lambda config: ("corpus", "tokenizer"),
    seeds=("data",),
    headline=("ngram_bits_per_byte", "xz_primed_bits_per_byte"),
    section=late("tutelage.evaluation.report:baselines_section"),
    sentence=late("tutelage.evaluation.report:baselines_sentence"),
    forecast=late("tutelage.evaluation.forecast:forecast_baselines"),
)

EVALUATE = StageSpec(
    kind="evaluate",
    version=2,
    title="Evaluation",
    config=Evaluation,
    run=_run,
    makes="figures",
    needs=lambda config: ("corpus", "baselines") if config.text else (),
    seeds=("data",),
    section=late("tutelage.evaluation.report:section"),
    sentence=late("tutelage.evaluation.report:sentence"),
    forecast=late("tutelage.evaluation.forecast:forecast"),
    rules=late("tutelage.evaluation.rules:rules"),
)
