"""The model before, beside the one that is trained: what the KL is measured to."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor

from tutelage.finetuning.reinforce.objective import Reference
from tutelage.model.decoder import DecoderLM
from tutelage.model.lora import LoraLinear, lora_layers


def reference_of(model: DecoderLM, beta: float) -> Reference | None:
    """None where no KL is asked for; with adapters the same model without them, else a frozen copy."""
    if not beta:
        return None
    if lora_layers(model):
        return without_adapters
    frozen = copy.deepcopy(model).eval().requires_grad_(False)

    @contextlib.contextmanager
    def before(trained: DecoderLM) -> Iterator[DecoderLM]:
        yield frozen.to(next(trained.parameters()).device)

    return before


@contextlib.contextmanager
def without_adapters(model: DecoderLM) -> Iterator[DecoderLM]:
    """Within, the projections compute what their own weights say."""

    def plain(layer: LoraLinear, x: Tensor) -> Tensor:
        return F.linear(x, layer.weight, layer.bias)

    layers = list(lora_layers(model).values())
    for layer in layers:
        layer.forward = plain.__get__(layer)  # type: ignore[method-assign]
    try:
        yield model
    finally:
        for layer in layers:
            del layer.__dict__["forward"]
