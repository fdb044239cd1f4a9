"""Float8 matrix products inside the blocks, by torchao, on GPUs with float8 tensor cores."""

from __future__ import annotations

import torch
from torch import nn

from tutelage.model.decoder import DecoderLM
from tutelage.model.lora import lora_layers
from tutelage.store.errors import ConfigError


def use_float8(model: DecoderLM, emulate: bool = False) -> None:
    """Convert the linear layers of the blocks to float8, in place; names and weights are unchanged.

    Inputs and weights are scaled per tensor and step to e4m3, gradients to e5m2 (Micikevicius et al. 2022, section 3);
    master weights stay float32. Routers, sizes that are not a multiple of 16, embedding and head are not converted.
    emulate: emulate float8 on other hardware. Raises ConfigError without torchao, or with adapters.
    """
    if lora_layers(model):
        raise ConfigError("precision float8 does not support adapters", hint="use precision: bfloat16")
    try:
        from torchao.float8 import Float8LinearConfig, convert_to_float8_training
    except ImportError:
        raise ConfigError("precision float8 requires torchao", hint="pip install 'tutelage[float8]'") from None

    def wanted(module: nn.Module, name: str) -> bool:
        inside = name.startswith("layers.") and not name.endswith("router")
        sizes = (module.in_features, module.out_features) if isinstance(module, nn.Linear) else ()
        return inside and all(size % 16 == 0 for size in sizes)

    convert_to_float8_training(model, config=Float8LinearConfig(emulate=emulate), module_filter_fn=wanted)


def check_float8(device: torch.device) -> None:
    """Raises ConfigError for a device without float8 support."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 9):
        raise ConfigError(
            f"precision float8 requires a GPU with float8 support (Ada, Hopper or newer), not {device.type}",
            hint="use precision: auto",
        )
