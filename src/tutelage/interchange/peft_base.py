"""Check that an adapter is on the base it was trained on, by a hash of the weights that it does not change."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from tutelage.interchange.peft_config import Sidecar
from tutelage.model.decoder import DecoderLM
from tutelage.model.lora import lora_layers

_SAMPLED = 4096  # values per weight, evenly spaced, so that the cost is independent of model size


def base_mark(model: DecoderLM) -> str:
    """A hash of the weights outside the adapted layers and the classification head (embeddings, norms, ...).

    Values are rounded to bfloat16, so that the hash is the same in either precision. Bases that differ only in adapted
    layers have the same hash.
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
    """A warning if the adapter in `directory`, loaded into `model`, was trained on other base weights.

    None if it was not, or if the adapter does not record its base.
    """
    mark = Sidecar.read(directory).base
    if not mark or mark == base_mark(model):
        return None
    return f"the adapter {directory} was trained on other base weights: this combination was never trained"
