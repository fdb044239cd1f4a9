"""Time and memory of instruction finetuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.finetuning.forecast import LEARNED, planned_context, rows_of, training_forecast
from tutelage.store.stage import Facts, Forecast, Machine, StageSpec

FIT = 0.7  # share of the described callables of a corpus that become a row


def forecast(config: Any, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    from tutelage.finetuning.instruct.spec import SPEC

    return forecast_of(SPEC, config, inputs, machine)


def forecast_of(
    spec: StageSpec, config: Any, inputs: Mapping[str, Facts], machine: Machine, times: float = 1.0
) -> Forecast:
    """Forecast of a method trained on conversations, with `times` conversations per row of the file."""
    found = rows_of(spec, config, inputs, "described")
    if found is None:
        return Forecast()
    rows, tokens = found
    rows = rows if config.data is not None else rows * FIT
    rows = (min(rows, config.max_rows) if config.max_rows else rows) * times
    held = min(config.max_heldout * times, rows * config.heldout / (1 - config.heldout))
    tokens = min(tokens, planned_context(config, inputs.get("model", {}), tokens)) * (1 + config.replay * LEARNED)
    return training_forecast(config, inputs, machine, rows, tokens, LEARNED, held)


def figures(metrics: Mapping[str, Any]) -> Facts:
    return {"rows": metrics["rows"], "heldout_rows": metrics["heldout_rows"]}
