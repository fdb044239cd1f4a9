"""Whether an adapter stands beside the weights it learned beside: a mark of the weights that it does not change."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from tutelage.interchange.peft_config import Sidecar
from tutelage.model.decoder import DecoderLM
from tutelage.model.lora import lora_layers

_SAMPLED = 4096  # values of each weight, evenly spaced, so that a large model takes no longer than a small one


def base_mark(model: DecoderLM) -> str:
    """A hash of the weights outside the adapted layers and the classification head (embeddings, norms, ...).

    Of values rounded to bfloat16, so that the same weights give the same mark in either precision. Two bases that
    differ in adapted layers alone have the same mark.
    """
    adapted = tuple(f"{path}." for path in lora_layers(model))
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if name.startswith(("score.", *adapted)) or not value.is_floating_point():
            continue
        flat = value.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // _SAMPLED)].to("cpu", torch.bfloat16)
        found.update(f"{name} {list(value.shape)}".encode())
        found.update(some.contiguous().view(torch.int16).numpy().tobytes())
    return found.hexdigest()[:16]


def strange_base(model: DecoderLM, directory: Path) -> str | None:
    """What is to be said where the adapter in `directory`, which is on `model`, learned beside other weights.

    None where it did not, or does not say beside which.
    """
    mark = Sidecar.read(directory).base
    if not mark or mark == base_mark(model):
        return None
    return (
        f"the adapter {directory} learned beside other weights than these: what the two say together was never trained"
    )
