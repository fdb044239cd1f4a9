"""Reinforcement finetuning as a stage."""

from __future__ import annotations

from tutelage.finetuning.reinforce.config import ReinforceConfig
from tutelage.finetuning.spec import audit_of, needs_of, own_file
from tutelage.store.late import late
from tutelage.store.stage import Headline, StageSpec, Way


def _suggest(parameters: int, rows: int) -> dict[str, Way]:
    """Adapters for a model of 30M parameters or more."""
    if parameters < 30e6:
        return {"reinforce": Way()}
    training = {"learning_rate": 2e-5, "batch_rows": 4, "accumulation": 4, "steps": 100}
    return {
        "reinforce": Way(
            {"context_length": 512, "max_tokens": 160, "lora": {"rank": 16, "alpha": 32}, "training": training}
        )
    }


SPEC = StageSpec(
    kind="reinforce",
    version=6,
    title="Reinforcement",
    config=ReinforceConfig,
    run=late("tutelage.finetuning.reinforce.stage:reinforce"),
    makes="chat model",
    needs=needs_of,
    seeds=("training", "data"),
    files=own_file,
    audit=audit_of("tutelage.finetuning.reinforce.rows"),
    preflight=late("tutelage.finetuning.reinforce.preflight:preflight"),
    trains=True,
    suggest=_suggest,
    heldout="problems",
    headline=("rows", "heldout_rows", "solved_before", "solved"),
    glance=(
        Headline("solved", "Held-out problems solved", ("baselines", "parent")),
        Headline("solved, sampled", "Solved on average of sampled answers", ("parent",)),
    ),
    section=late("tutelage.finetuning.reinforce.report:section"),
    sentence=late("tutelage.finetuning.reinforce.report:sentence"),
    forecast=late("tutelage.finetuning.reinforce.forecast:forecast"),
    result_facts=late("tutelage.finetuning.reinforce.forecast:figures"),
    rules=late("tutelage.finetuning.reinforce.rules:rules"),
)
