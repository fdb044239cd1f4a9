"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math

from tutelage.training.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """Rate of step `step` of `steps` (0-based): linear warmup, then the schedule down to `final_fraction`."""
    warmup = min(config.warmup_steps, steps // 2)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)  # 0..1
    return config.learning_rate * _factor(config, done)


def _factor(config: TrainingConfig, done: float) -> float:
    low = config.final_fraction
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "linear":
        return 1 - (1 - low) * done
    if config.schedule == "cosine":
        return low + (1 - low) * (1 + math.cos(math.pi * done)) / 2
    start = 1 - config.decay_fraction  # wsd: warmup, stable, decay (MiniCPM, section 4)
    if done <= start:
        return 1.0
    return 1 - (1 - low) * (done - start) / config.decay_fraction
