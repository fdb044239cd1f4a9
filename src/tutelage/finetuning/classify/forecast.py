"""Forecast time and memory of classification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.finetuning.classify.config import CHOSEN_ON, DEPTHS
from tutelage.finetuning.forecast import KERNELS, OVERHEAD, ROW_SECONDS, rows_of, training_forecast
from tutelage.store.stage import Facts, Forecast, Machine

FIT_SECONDS = 0.003  # per row used to choose layer and strength, at a `slowness` of 1


def forecast(config: Any, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    from tutelage.finetuning.classify.spec import SPEC

    found = rows_of(SPEC, config, inputs, "train_documents")
    if found is None:
        return Forecast()
    rows, tokens = found
    labels = inputs.get("corpus", {}).get("labels", 0)
    if config.max_per_label and labels:
        rows = min(rows, config.max_per_label * labels)
    held = min(config.max_heldout, rows * config.heldout / (1 - config.heldout))
    rows *= config.share
    tokens = min(tokens, config.max_tokens)
    if config.frozen:
        return frozen_forecast(inputs.get("model", {}), machine, rows, tokens, held)
    return training_forecast(config, inputs, machine, rows, tokens, 1 / max(1.0, tokens), held)


def frozen_forecast(model: Facts, machine: Machine, rows: float, tokens: float, held: float) -> Forecast:
    if "model" not in model:
        return Forecast()
    seconds = (OVERHEAD + ROW_SECONDS * (rows + held)) * machine.slowness()
    seconds += 2 * 4 * model["parameters"] / machine.bytes_per_second()
    seconds += machine.scoring_seconds_per_token(model["model"]) * (rows + held) * tokens
    seconds += FIT_SECONDS * min(rows, CHOSEN_ON) * machine.slowness()
    states = 4.0 * rows * model["model"].hidden_size
    memory = machine.process_memory() + 8 * model["parameters"] + len(DEPTHS) * states + KERNELS
    facts = {
        **{name: model[name] for name in ("model", "parameters", "bytes_per_token")},
        "rows": round(rows),
        "heldout_rows": round(held),
        "row_tokens": tokens,
    }
    return Forecast.about(seconds, 0.5, 2.5, memory, facts)


def figures(metrics: Mapping[str, Any]) -> Facts:
    return {"rows": metrics["train_texts"], "heldout_rows": metrics["heldout_texts"]}
