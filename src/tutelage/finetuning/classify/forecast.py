"""How long classification takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.finetuning.forecast import rows_of, training_forecast
from tutelage.store.stage import Facts, Forecast, Machine


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
    tokens = min(tokens, config.max_tokens)
    return training_forecast(config, inputs, machine, rows, tokens, 1 / max(1.0, tokens), held)


def figures(metrics: Mapping[str, Any]) -> Facts:
    return {"rows": metrics["train_texts"], "heldout_rows": metrics["heldout_texts"]}
