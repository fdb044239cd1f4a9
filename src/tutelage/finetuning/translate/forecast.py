"""Time and memory of finetuning for translation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.finetuning.instruct.forecast import forecast_of
from tutelage.store.stage import Facts, Forecast, Machine


def forecast(config: Any, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    from tutelage.finetuning.translate.spec import SPEC

    return forecast_of(SPEC, config, inputs, machine, 2.0 if config.reverse else 1.0)
