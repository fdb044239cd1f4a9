"""The two evaluation stages: baselines without a model, and all models of a run together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

from tutelage.evaluation.config import BaselinesConfig, EvaluateConfig
from tutelage.store.config import Config
from tutelage.store.late import late
from tutelage.store.stage import Heldout, Job, StageSpec

_POINT = "-1of"


class Subject(Config):
    """A model to measure: what it can do, its parent, and its held-out rows.

    `share`: share of the training rows used; below 1 it is a point of a learning curve. `own_rows`: its held-out rows
    are from its own file, not from a task that its parent shares.
    """

    name: str
    makes: Literal["language model", "chat model", "classifier", "reward model"]
    parent: str | None = None
    heldout: Heldout = ""
    task: str | None = None
    own_rows: bool = False
    share: float = 1.0


class Evaluation(Config):
    """The settings, the models (parents before children), and whether the corpus's held-out text is read."""

    evaluate: EvaluateConfig
    subjects: tuple[Subject, ...]
    text: bool


def point_name(way: str, part: int) -> str:
    """Name of a learning-curve step: `way` trained on 1/`part` of the rows."""
    return f"{way}{_POINT}{part}"


def way_of(name: str) -> str:
    """The method part of a step's name, with or without a learning-curve suffix."""
    return name.split(_POINT)[0]


def _run_baselines(job: Job) -> dict[str, Any]:
    from tutelage.evaluation.baselines import measure_baselines

    return measure_baselines(
        job.config, corpus=job.inputs["corpus"], tokenizer=job.inputs["tokenizer"], out=job.out, log=job.log,
        seed=job.data_seed,
    )  # fmt: skip


def asked_of(
    subjects: Sequence[Subject], wanted: Collection[str] = (), kinds: Collection[str] = ("answers", "pairs")
) -> dict[str, list[str]]:
    """Steps with held-out prompts of their own -> models that answer them: the step and all its ancestors.

    A step whose pairs were sampled from its parent answers its parent's prompts. `wanted`: names of steps whose prompts
    count (empty: all). `kinds`: kinds of held-out rows that count; `texts` are read, not answered. Models are in stage
    order.
    """
    parents = {subject.name: subject.parent for subject in subjects}
    asked: dict[str, list[str]] = {}
    owner_of: dict[str, str] = {}
    for subject in subjects:
        if subject.heldout not in kinds or (wanted and subject.name not in wanted):
            continue
        if subject.makes == "reward model":  # it answers nothing
            continue
        family = [subject.name]
        while (parent := parents[family[-1]]) is not None and parent in parents:
            family.append(parent)
        shared = next((owner_of[name] for name in family[1:] if name in owner_of), None)
        samples = subject.heldout == "pairs" and not subject.own_rows
        owner = shared if samples and shared is not None else subject.name
        owner_of[subject.name] = owner
        askers = asked.setdefault(owner, [])
        askers += [name for name in reversed(family) if name not in askers]
    return asked


BASELINES = StageSpec(
    kind="baselines",
    version=3,
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
    result_facts=late("tutelage.evaluation.forecast:baseline_figures"),
)

EVALUATE = StageSpec(
    kind="evaluate",
    version=9,
    title="Evaluation",
    config=Evaluation,
    run=late("tutelage.evaluation.stage:evaluate"),
    makes="figures",
    needs=lambda config: ("corpus", "baselines") if config.text else (),
    seeds=("data",),
    section=late("tutelage.evaluation.report:section"),
    sentence=late("tutelage.evaluation.report:sentence"),
    forecast=late("tutelage.evaluation.forecast:forecast"),
    rules=late("tutelage.evaluation.rules:rules"),
)
