"""Low-rank adapters on the projections of a decoder: put on, read out, loaded, folded into the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model.decoder import DecoderLM
from tutelage.model.lora_config import LoraConfig
from tutelage.store.errors import ConfigError, InputError, nearest

__all__ = [
    "Adapter", "LoraConfig", "LoraLinear", "add_lora", "load_lora_state", "lora_layers", "lora_shapes", "lora_state",
    "merge_lora", "place_adapters", "projections",
]  # fmt: skip


@dataclass(frozen=True)
class Adapter:
    """Settings of one projection's adapter; see `LoraConfig`."""

    rank: int
    alpha: float
    dropout: float = 0.0
    rslora: bool = False
    dora: bool = False

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


class LoraLinear(nn.Module):
    """A linear layer with an adapter: x W^T + scale * dropout(x) A^T B^T.

    Takes over the very parameters of the layer it replaces, under their old names, so that a state dict of the
    base fits. A [rank, in] is drawn as PEFT draws it (Kaiming-uniform, a = sqrt(5)), B [out, rank] is zero; both
    are float32 whatever the base is, as PEFT has them.
    """

    weight: Tensor
    bias: Tensor | None
    lora_magnitude: Tensor | None

    def __init__(self, linear: nn.Linear, adapter: Adapter, generator: torch.Generator) -> None:
        super().__init__()
        self.adapter = adapter
        self.training = linear.training
        self.weight, self.bias = linear.weight, linear.bias
        device, (outputs, inputs) = linear.weight.device, linear.weight.shape
        down = torch.empty(adapter.rank, inputs)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator)
        self.lora_A = nn.Parameter(down.to(device))
        self.lora_B = nn.Parameter(torch.zeros(outputs, adapter.rank, device=device))
        magnitude = nn.Parameter(self._row_norms().clone()) if adapter.dora else None
        self.register_parameter("lora_magnitude", magnitude)

    def forward(self, x: Tensor) -> Tensor:
        out = F.linear(x, self.weight, self.bias)
        dropped = F.dropout(x.to(self.lora_A.dtype), self.adapter.dropout, self.training)
        change = self.adapter.scale * F.linear(F.linear(dropped, self.lora_A), self.lora_B)
        if self.lora_magnitude is not None:
            # The norm is held constant in the gradient (DoRA, section 4.3).
            stretch = self.lora_magnitude / self._row_norms()
            change = (stretch - 1) * F.linear(dropped, self.weight.to(dropped.dtype)) + stretch * change
        return out + change.to(out.dtype)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The plain layer that computes the same: the adapter folded into the weight, in the weight's own dtype."""
        weight = self._changed()
        if self.lora_magnitude is not None:
            weight = weight * (self.lora_magnitude / self._row_norms())[:, None]
        outputs, inputs = self.weight.shape
        linear = nn.Linear(inputs, outputs, bias=self.bias is not None, device="meta")
        linear.weight = nn.Parameter(weight.to(self.weight.dtype))
        linear.bias = self.bias  # type: ignore[assignment]
        return linear.train(self.training)

    def _changed(self) -> Tensor:
        return self.weight.float() + self.adapter.scale * (self.lora_B @ self.lora_A)

    @torch.no_grad()
    def _row_norms(self) -> Tensor:
        with torch.autocast(self.weight.device.type, enabled=False):
            return self._changed().norm(dim=1).clamp(min=1e-30)  # a row of zeros stays one

    def extra_repr(self) -> str:
        outputs, inputs = self.weight.shape
        return f"in_features={inputs}, out_features={outputs}, {self.adapter}"


def add_lora(model: DecoderLM, config: LoraConfig, seed: int) -> None:
    """Put fresh adapters on `model` in place and freeze the rest; what it computes stays the same, bit for bit.

    A classification head stays trainable in full. Raises ConfigError for a target or layer the model has not.
    """
    found = projections(model)
    names = {path.rpartition(".")[2] for path in found}
    wanted = names if config.targets == "all" else set(config.targets)
    for name in sorted(wanted - names):
        raise ConfigError(f"lora.targets: the model has no projection {name!r}", hint=nearest(name, names))
    layers = range(model.config.num_layers) if config.layers is None else config.layers
    for layer in layers:
        if layer >= model.config.num_layers:
            raise ConfigError(f"lora.layers: the model has no block {layer}, it has {model.config.num_layers}")
    adapter = Adapter(config.rank, config.alpha, config.dropout, config.rslora, config.dora)
    place_adapters(model, {
        path: adapter
        for path in found
        if path.rpartition(".")[2] in wanted and int(path.split(".")[1]) in layers
    }, seed)  # fmt: skip


def place_adapters(model: DecoderLM, plan: Mapping[str, Adapter], seed: int) -> None:
    """Put an adapter on each projection named by its path and freeze the rest. Raises InputError if it has some."""
    if lora_layers(model):
        raise InputError("the model already has adapters", hint="merge them first")
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    if model.config.num_labels:
        model.score.requires_grad_(True)
    for path, linear in projections(model).items():
        if path in plan:
            _replace(model, path, LoraLinear(linear, plan[path], generator))


def merge_lora(model: DecoderLM) -> None:
    """Fold every adapter into its weight; the model is then as if it never had one, and trainable throughout."""
    for path, layer in lora_layers(model).items():
        _replace(model, path, layer.merged())
    model.requires_grad_(True)


def projections(model: DecoderLM) -> dict[str, nn.Linear]:
    """Plain linear layers inside the blocks by path, e.g. `layers.0.attention.q_proj`, in the model's order."""
    return {
        path: module
        for path, module in model.named_modules()
        if type(module) is nn.Linear and path.startswith("layers.")
    }


def lora_layers(model: nn.Module) -> dict[str, LoraLinear]:
    """Layers with an adapter by path, in the model's order."""
    return {path: module for path, module in model.named_modules() if isinstance(module, LoraLinear)}


def lora_shapes(path: str, linear: nn.Linear | LoraLinear, adapter: Adapter) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters that this adapter has on this projection."""
    outputs, inputs = linear.weight.shape
    shapes: dict[str, tuple[int, ...]] = {
        f"{path}.lora_A": (adapter.rank, inputs), f"{path}.lora_B": (outputs, adapter.rank)
    }  # fmt: skip
    return {**shapes, f"{path}.lora_magnitude": (outputs,)} if adapter.dora else shapes


def lora_state(model: DecoderLM) -> dict[str, Tensor]:
    """What was trained beside the base: the adapters' parameters, and the classification head's where there is one."""
    names = [name for path, layer in lora_layers(model).items() for name in lora_shapes(path, layer, layer.adapter)]
    state = model.state_dict()
    return {name: state[name] for name in [*names, *(name for name in state if name.startswith("score."))]}


@torch.no_grad()
def load_lora_state(model: DecoderLM, state: Mapping[str, Tensor]) -> None:
    """Copy the values of `lora_state` into a model with the same adapters.

    Raises InputError, before anything is changed, unless names and shapes are the very same.
    """
    own = lora_state(model)
    if own.keys() != state.keys():
        odd = sorted(own.keys() ^ state.keys())
        raise InputError(f"the adapter does not fit the model: {odd[0]!r} is only in one of them")
    for name, value in state.items():
        if own[name].shape != value.shape:
            raise InputError(f"the adapter's {name} has shape {list(value.shape)}, the model's {list(own[name].shape)}")
    for name, value in state.items():
        own[name].copy_(value)


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
