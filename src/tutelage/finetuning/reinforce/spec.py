"""Spec of reinforcement finetuning."""

from __future__ import annotations

from dataclasses import replace

from tutelage.finetuning.reinforce.config import ReinforceConfig
from tutelage.finetuning.spec import method
from tutelage.store.stage import Headline, Way


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


SPEC = replace(
    method("reinforce", version=7, title="Reinforcement", config=ReinforceConfig, makes="chat model"),
    suggest=_suggest,
    heldout="problems",
    headline=("rows", "heldout_rows", "solved_before", "solved"),
    glance=(
        Headline("solved", "Held-out problems solved", ("baselines", "parent")),
        Headline("solved, sampled", "Solved, mean over sampled answers", ("parent",)),
    ),
)
