"""Time and memory of preference finetuning and of sampling its pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tutelage.finetuning.forecast import ANSWER_TOKENS, LEARNED, planned_context, rows_of, training_forecast
from tutelage.finetuning.prefer.defaults import KNOWN
from tutelage.finetuning.prefer.rows import own_rows
from tutelage.store.events import EventLog
from tutelage.store.stage import Facts, Forecast, Machine

YIELD = 0.7  # pairs per prompt


def forecast(config: Any, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    from tutelage.finetuning.prefer.spec import SPEC

    if config.data is not None:
        found = rows_of(SPEC, config, inputs, "")
        if found is None:
            return Forecast()
        pairs, tokens = found
    else:
        pairs, tokens = inputs.get("pairs", {}).get("rows", config.pairs.prompts * YIELD), 2 * ANSWER_TOKENS
        if KNOWN[config.loss].judged:
            pairs, tokens = 2 * pairs, tokens / 2
    pairs = min(pairs, config.max_pairs) if config.max_pairs else pairs
    held = pairs * config.heldout / (1 - config.heldout)
    # Forward passes without gradient: the reference once over all rows, KTO's reference point at every step.
    passes = 2.0 * KNOWN[config.loss].reference + config.training.epochs * (config.loss == "kto")
    sides = 1.0 if KNOWN[config.loss].judged else 2.0
    tokens = min(tokens, sides * planned_context(config, inputs.get("model", {}), tokens / sides))
    made = training_forecast(config, inputs, machine, pairs, tokens, LEARNED, held, passes)
    made = replace(made, facts={**made.facts, **_judgements(config, round(pairs))})
    model = inputs.get("model", {})
    if made.seconds is None or not config.drift_prompts:
        return made
    answers = 2 * min(config.drift_prompts, held) * 40 * machine.decoding_seconds_per_token(model["model"])
    return Forecast(made.seconds + answers / 2, made.low, made.high + 1.5 * answers, made.memory, made.facts)


def figures(metrics: Mapping[str, Any]) -> Facts:
    if "answers" in metrics:
        known = {"rows": metrics["answers"], "heldout_rows": metrics["heldout_answers"]}
        return known | {name: metrics[name] for name in ("desirable", "undesirable")}
    pairs = metrics["pairs"]
    return {"rows": pairs, "heldout_rows": metrics["heldout_pairs"], "desirable": pairs, "undesirable": pairs}


def _judgements(config: Any, rows: int) -> Facts:
    """Number of good and bad answers: as labelled in the user's file, or one of each per pair."""
    if not KNOWN[config.loss].judged:
        return {"desirable": rows, "undesirable": rows}
    if config.data is None:
        return {"desirable": rows // 2, "undesirable": rows // 2}
    labels = [row["label"] for row in own_rows(config, EventLog(), 0)[0].train]
    return {"desirable": sum(labels), "undesirable": len(labels) - sum(labels)}


def forecast_pairs(config: Any, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    model = inputs.get("model", {})
    facts = {"rows": config.prompts * YIELD}
    if "model" not in model:
        return Forecast(facts=facts)
    tokens = config.prompts * config.samples * config.max_tokens
    seconds = 1.0 + tokens * 0.6 * machine.decoding_seconds_per_token(model["model"])
    return Forecast.about(seconds, 0.3, 2.0, machine.process_memory() + 5 * model["parameters"], facts)
