"""How long preference finetuning takes, and the sampling of its pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.finetuning.forecast import ANSWER_TOKENS, LEARNED, planned_context, rows_of, training_forecast
from tutelage.store.stage import Facts, Forecast, Machine

YIELD = 0.7  # pairs for each prompt


def forecast(config: Any, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    from tutelage.finetuning.prefer.spec import SPEC

    if config.data is not None:
        found = rows_of(SPEC, config, inputs, "")
        if found is None:
            return Forecast()
        pairs, tokens = found
    else:
        pairs, tokens = inputs.get("pairs", {}).get("rows", config.pairs.prompts * YIELD), 2 * ANSWER_TOKENS
    pairs = min(pairs, config.max_pairs) if config.max_pairs else pairs
    held = pairs * config.heldout / (1 - config.heldout)
    tokens = min(tokens, 2.0 * planned_context(config, inputs.get("model", {}), tokens / 2))
    made = training_forecast(config, inputs, machine, pairs, tokens, LEARNED, held, 2)
    model = inputs.get("model", {})
    if made.seconds is None or not config.drift_prompts:
        return made
    answers = 2 * min(config.drift_prompts, held) * 40 * machine.decoding_seconds_per_token(model["model"])
    return Forecast(made.seconds + answers / 2, made.low, made.high + 1.5 * answers, made.memory, made.facts)


def figures(metrics: Mapping[str, Any]) -> Facts:
    return {"rows": metrics["pairs"], "heldout_rows": metrics["heldout_pairs"]}


def forecast_pairs(config: Any, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    model = inputs.get("model", {})
    facts = {"rows": config.prompts * YIELD}
    if "model" not in model:
        return Forecast(facts=facts)
    tokens = config.prompts * config.samples * config.max_tokens
    seconds = 1.0 + tokens * 0.6 * machine.decoding_seconds_per_token(model["model"])
    return Forecast.about(seconds, 0.3, 2.0, machine.process_memory() + 5 * model["parameters"], facts)
