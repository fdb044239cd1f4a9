"""Time and memory of reinforcement; most of the time is generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.finetuning.forecast import KERNELS, OVERHEAD
from tutelage.store.stage import Facts, Forecast, Machine

PROMPT_TOKENS = 30.0  # of a prompt, by default


def forecast(config: Any, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    model = inputs.get("model", {})
    if "model" not in model:
        return Forecast()
    shape, training = model["model"], config.training
    answers = training.batch_rows * config.num_generations
    rate = machine.training_seconds_per_token(shape, config.context_length, training, 0.5, config.lora)
    decoding = machine.decoding_seconds_per_token(shape)
    learned = training.steps * answers * (PROMPT_TOKENS + config.max_tokens)
    passes = 1 + (config.beta > 0) / 3 + (config.updates_per_rollout > 1) / 3 / config.updates_per_rollout
    sampled = training.steps / config.updates_per_rollout * answers * config.max_tokens
    held = 2 * config.max_heldout * (1 + config.mean_at) * config.max_tokens
    seconds = rate * learned * passes + decoding * (sampled + held)
    facts = {
        **{name: model[name] for name in ("model", "parameters", "bytes_per_token")},
        "learning_rate": training.learning_rate, "lora": config.lora is not None, "heldout_rows": config.max_heldout,
        "row_tokens": PROMPT_TOKENS + config.max_tokens,
    }  # fmt: skip
    memory = machine.process_memory() + KERNELS
    memory += machine.training_memory(shape, config.context_length, training, 0.5, config.lora)
    # The length of the answers is unknown: from a few tokens to max_tokens.
    return Forecast.about(OVERHEAD * machine.slowness() + seconds, 0.15, 1.6, memory, facts)


def figures(metrics: Mapping[str, Any]) -> Facts:
    return {"rows": metrics["rows"], "heldout_rows": metrics["heldout_rows"]}
