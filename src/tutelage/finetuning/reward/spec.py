"""Spec of reward modelling."""

from __future__ import annotations

from dataclasses import replace

from tutelage.finetuning.reward.config import RewardConfig
from tutelage.finetuning.spec import method
from tutelage.store.stage import Headline, Way


def _suggest(parameters: int, rows: int) -> dict[str, Way]:
    if parameters < 30e6:
        return {"reward": Way()}
    training = {"optimizer": "adamw", "learning_rate": 2e-4, "batch_rows": 2, "epochs": 1, "warmup_steps": 5}
    return {"reward": Way({"context_length": 1024, "lora": {"rank": 16, "alpha": 32}, "training": training})}


SPEC = replace(
    method("reward", version=6, title="Reward model", config=RewardConfig, makes="reward model"),
    needs=lambda config: ("model",),
    suggest=_suggest,
    heldout="pairs",
    headline=("pairs", "told_apart"),
    glance=(Headline("reward accuracy", "Held-out reward accuracy"),),
)
