"""Time and memory of multi-label classification, which equal those of classification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.finetuning.classify.forecast import frozen_forecast
from tutelage.finetuning.forecast import rows_of, training_forecast
from tutelage.store.stage import Facts, Forecast, Machine


def forecast(config: Any, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    from tutelage.finetuning.multilabel.spec import SPEC

    found = rows_of(SPEC, config, inputs, "train_documents")
    if found is None:
        return Forecast()
    rows, tokens = found[0], min(found[1], config.max_tokens)
    held = min(config.max_heldout, rows * config.heldout / (1 - config.heldout))
    if config.frozen:
        return frozen_forecast(inputs.get("model", {}), machine, rows, tokens, held)
    return training_forecast(config, inputs, machine, rows, tokens, 1 / max(1.0, tokens), held)
