"""Rules of thumb for reinforcement."""

from __future__ import annotations

from tutelage.finetuning.rules import SHARED, rate_rule
from tutelage.store.stage import Facts, Finding, Rule


def group_size(f: Facts) -> Finding | None:
    if f["num_generations"] >= 4:
        return None
    return (
        "warning",
        f"{f['num_generations']} answers per prompt: most groups will have equal rewards and no gradient",
        f"--set {f['key']}.num_generations=8",
    )


def temperature(f: Facts) -> Finding | None:
    value = f["temperature"]
    if 0.6 <= value <= 1.3:
        return None
    effect = "explores too little" if value < 0.6 else "samples many answers that it would normally never give"
    return "warning", f"at temperature {value:g} the model {effect}", f"--set {f['key']}.temperature=1"


def kl_weight(f: Facts) -> Finding | None:
    if f["beta"] <= 0.1:
        return None
    return "warning", f"beta {f['beta']:g} ties the model to the initial one", f"--set {f['key']}.beta=0.01"


def reuse(f: Facts) -> Finding | None:
    if f["updates_per_rollout"] <= 4:
        return None
    return (
        "warning",
        f"{f['updates_per_rollout']} updates on the same answers: soon most tokens are clipped",
        f"--set {f['key']}.updates_per_rollout=2",
    )


RULES = (
    Rule("group-size", "8 to 16 answers per prompt", "Shao et al. 2024: 64; TRL: 8; DAPO: 16",
         ("key", "num_generations"), group_size),
    Rule("rollout-temperature", "Sample at temperature 1", "DAPO, DeepSeek-R1, TRL: 1", ("key", "temperature"),
         temperature),
    Rule("kl-weight", "beta 0 to 0.01", "DAPO, Dr. GRPO: 0; Tulu 3: 0.01; Shao et al. 2024: 0.04", ("key", "beta"),
         kl_weight),
    Rule("rollout-reuse", "1 to 4 updates per rollout", "Shao et al. 2024: 1; PPO: 4",
         ("key", "updates_per_rollout"), reuse),
    rate_rule("reinforcement-learning-rate", 1.0, 0.1, "At most the rate of the model before; 1e-6 for a large one",
              "TRL, verl: 1e-6; Tulu 3: 5e-7"),
    *SHARED,
)  # fmt: skip


def rules() -> tuple[Rule, ...]:
    return RULES
