"""Reward modelling as a stage."""

from __future__ import annotations

from tutelage.finetuning.reward.config import RewardConfig
from tutelage.finetuning.spec import audit_of, own_file
from tutelage.store.late import late
from tutelage.store.stage import Headline, StageSpec, Way


def _suggest(parameters: int, rows: int) -> dict[str, Way]:
    if parameters < 30e6:
        return {"reward": Way()}
    training = {"optimizer": "adamw", "learning_rate": 2e-4, "batch_rows": 2, "epochs": 1, "warmup_steps": 5}
    return {"reward": Way({"context_length": 1024, "lora": {"rank": 16, "alpha": 32}, "training": training})}


SPEC = StageSpec(
    kind="reward",
    version=5,
    title="Reward model",
    config=RewardConfig,
    run=late("tutelage.finetuning.reward.stage:reward"),
    makes="reward model",
    needs=lambda config: ("model",),
    seeds=("training", "data"),
    files=own_file,
    audit=audit_of("tutelage.finetuning.reward.rows"),
    preflight=late("tutelage.finetuning.reward.preflight:preflight"),
    trains=True,
    suggest=_suggest,
    heldout="pairs",
    headline=("pairs", "told_apart"),
    glance=(Headline("reward accuracy", "Held-out pairs told apart by the reward"),),
    section=late("tutelage.finetuning.reward.report:section"),
    sentence=late("tutelage.finetuning.reward.report:sentence"),
    forecast=late("tutelage.finetuning.reward.forecast:forecast"),
    result_facts=late("tutelage.finetuning.reward.forecast:figures"),
    rules=late("tutelage.finetuning.reward.rules:rules"),
)
