"""Spec of preference finetuning, and of the stage that samples pairs when the user has none."""

from __future__ import annotations

from dataclasses import replace

from tutelage.finetuning.prefer.config import PairsConfig, PreferConfig
from tutelage.finetuning.spec import method
from tutelage.store.late import late
from tutelage.store.stage import Headline, Part, StageSpec, Way


def _parts(config: PreferConfig) -> tuple[Part, ...]:
    if config.data is not None:
        return ()
    sampled = PairsConfig.parse({**config.pairs.plain(), "task": config.task, "heldout": config.heldout})
    return (Part("pairs", PAIRS, sampled),)


def _suggest(parameters: int, rows: int) -> dict[str, Way]:
    if parameters < 30e6:
        return {"prefer": Way()}
    training = {"optimizer": "adamw", "learning_rate": 5e-5, "batch_rows": 2, "epochs": 1, "warmup_steps": 5}
    return {"prefer": Way({"lora": {"rank": 16, "alpha": 32}, "training": training})}


PAIRS = StageSpec(
    kind="pairs",
    version=4,
    title="Preference pairs",
    config=PairsConfig,
    run=late("tutelage.finetuning.prefer.pairs:make_pairs"),
    makes="data",
    needs=lambda config: ("model", "corpus"),
    seeds=("training", "data"),
    files=lambda config: {} if config.reward is None else {"reward": config.reward},
    headline=("prompts", "pairs"),
    section=late("tutelage.finetuning.prefer.report:pairs_section"),
    sentence=late("tutelage.finetuning.prefer.report:pairs_sentence"),
    forecast=late("tutelage.finetuning.prefer.forecast:forecast_pairs"),
)

SPEC = replace(
    method("prefer", version=10, title="Preference finetuning", config=PreferConfig, makes="chat model"),
    needs=lambda config: ("model",),
    settings_for=late("tutelage.finetuning.prefer.rows:settings_for"),
    preflight=late("tutelage.finetuning.prefer.stage:preflight"),
    parts=_parts,
    suggest=_suggest,
    heldout="pairs",
    headline=("pairs", "answers", "told_apart"),
    glance=(
        Headline("likelihood accuracy", "Pairs whose chosen answer is more likely", ("parent",)),
        Headline("reward accuracy", "Held-out reward accuracy"),
        Headline("good above bad", "Good answers above bad ones"),
        Headline("rule passed", "Answers that pass the rule", ("parent",)),
        Headline("win rate", "Win rate against the model before", ("parent",)),
        Headline("chrF", "chrF after preference finetuning", ("parent",)),
    ),
)
