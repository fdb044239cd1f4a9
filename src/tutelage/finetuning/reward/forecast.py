"""Time and memory of reward modelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.finetuning.forecast import rows_of, training_forecast
from tutelage.store.stage import Facts, Forecast, Machine


def forecast(config: Any, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    from tutelage.finetuning.reward.spec import SPEC

    found = rows_of(SPEC, config, inputs, "")
    if found is None:
        return Forecast()
    pairs, tokens = found
    pairs = min(pairs, config.max_pairs) if config.max_pairs else pairs
    tokens = min(tokens, 2.0 * config.context_length)
    held = pairs * config.heldout / (1 - config.heldout)
    return training_forecast(config, inputs, machine, pairs, tokens, 2 / max(2.0, tokens), held)


def figures(metrics: Mapping[str, Any]) -> Facts:
    return {"rows": metrics["pairs"], "heldout_rows": metrics["heldout_pairs"]}
