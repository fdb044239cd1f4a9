"""The reference model of the KL: the initial model."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

from tutelage.finetuning.reinforce.objective import Reference
from tutelage.model.decoder import DecoderLM
from tutelage.model.lora import lora_layers, without_adapters


def reference_of(model: DecoderLM, beta: float) -> Reference | None:
    """None if `beta` is 0; with adapters the same model without them, else a frozen copy."""
    if not beta:
        return None
    if lora_layers(model):
        return without_adapters
    frozen = copy.deepcopy(model).eval().requires_grad_(False)

    @contextlib.contextmanager
    def before(trained: DecoderLM) -> Iterator[DecoderLM]:
        yield frozen.to(next(trained.parameters()).device)

    return before
