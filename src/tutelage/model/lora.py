"""Low-rank adapters on projections and experts of a decoder: add, export, load and merge."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model.adaptable import dense, expert_stacks, is_quantised, projections, quantise_model, replace
from tutelage.model.decoder import DecoderLM
from tutelage.model.lora_config import LoraConfig
from tutelage.model.lora_layers import Adapter, LoraExperts, LoraLinear, plain_linear, principal_part
from tutelage.model.nf4 import NF4Linear, NF4Weight
from tutelage.store.errors import ConfigError, InputError, nearest

__all__ = [
    "Adapter", "LoraConfig", "LoraExperts", "LoraLinear", "MergedState", "add_lora", "as_merged", "is_quantised",
    "load_lora_state", "lora_layers", "lora_shapes", "lora_starts", "lora_state", "merge_lora", "place_adapters",
    "principal_part", "projections", "shared_copy", "without_adapters",
]  # fmt: skip


def add_lora(model: DecoderLM, config: LoraConfig, seed: int, starts: Mapping[str, Tensor] | None = None) -> None:
    """Add new adapters to `model` in place and freeze the rest; its outputs are unchanged, bit for bit (with PiSSA, up
    to rounding).

    With `quantisation`, weights are first stored in 4 bits, if they are not yet. `starts`: PiSSA's initial adapters
    (`lora_starts`), if known. A classification head stays fully trainable. Raises ConfigError for a target or layer
    that does not exist.
    """
    if config.quantisation != "none":
        quantise_model(model, config.quantisation)
    found = [*projections(model), *expert_stacks(model)]
    names = {path.rpartition(".")[2] for path in found}
    wanted = names if config.targets == "all" else set(config.targets)
    for name in sorted(wanted - names):
        raise ConfigError(f"lora.targets: the model has no projection {name!r}", hint=nearest(name, names))
    layers = range(model.config.num_layers) if config.layers is None else config.layers
    for layer in layers:
        if layer >= model.config.num_layers:
            raise ConfigError(f"lora.layers: the model has no block {layer}, it has {model.config.num_layers}")
    adapter = Adapter(config.rank, config.alpha, config.dropout, config.rslora, config.dora, config.init,
                      config.svd_iterations, config.b_rate)  # fmt: skip
    place_adapters(model, {
        path: adapter
        for path in found
        if path.rpartition(".")[2] in wanted and int(path.split(".")[1]) in layers
    }, seed, starts)  # fmt: skip


def place_adapters(
    model: DecoderLM, plan: Mapping[str, Adapter], seed: int, starts: Mapping[str, Tensor] | None = None
) -> None:
    """Add an adapter to each projection or stack of experts, given by path, and freeze the rest.

    Raises InputError if the model already has adapters.
    """
    if lora_layers(model):
        raise InputError("the model already has adapters", hint="merge them first")
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    if model.config.num_labels:
        model.score.requires_grad_(True)
    for path, linear in projections(model).items():
        if path in plan:
            replace(model, path, LoraLinear(linear, plan[path], generator))
    for path, stack in expert_stacks(model).items():
        if path in plan:
            replace(model, path, LoraExperts(stack, plan[path], generator))
    for number, (path, layer) in enumerate(lora_layers(model).items()):
        one = layer.adapter
        if one.init == "pissa" and starts:
            layer.begin_with(starts[f"{path}.start_A"], starts[f"{path}.start_B"])
        elif one.init == "pissa":
            weight = dense(layer.weight).float()
            layer.begin_with(*principal_part(weight, one.rank, one.scale, one.svd_iterations, seed + number))


def lora_starts(model: DecoderLM) -> dict[str, Tensor]:
    """PiSSA's initial adapters by name; empty for other initialisations."""
    return {
        f"{path}.{name}": value
        for path, layer in lora_layers(model).items()
        for name in ("start_A", "start_B")
        if (value := getattr(layer, name)) is not None
    }


def shared_copy(model: DecoderLM) -> DecoderLM:
    """A copy that shares the weights: adapters added to it do not affect `model`. The classification head, which
    adapters may replace, is not shared."""
    shared = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return copy.deepcopy(model, {id(value): value for name, value in shared if not name.startswith("score.")})


def merge_lora(model: DecoderLM) -> None:
    """Merge every adapter into its weight; the model then has no adapters and is fully trainable.

    4-bit weights become float32, because the adapter was trained on the quantised values, not the original ones.
    """
    for path, layer in lora_layers(model).items():
        new = layer.merged() if isinstance(layer, LoraLinear) else nn.Parameter(layer.merged_weight().detach())
        replace(model, path, new)
    for path, linear in projections(model).items():
        if isinstance(linear, NF4Linear):
            replace(model, path, plain_linear(linear.weight.dense(), linear.bias, linear.training))
    for path, stack in expert_stacks(model).items():
        if isinstance(stack, NF4Weight):
            replace(model, path, nn.Parameter(stack.dense()))
    model.requires_grad_(True)


class MergedState(Mapping[str, Tensor]):
    """The state dict of the merged model; each tensor is computed on access and not stored."""

    def __init__(self, model: DecoderLM) -> None:
        self._adapted = {
            f"{path}.weight" if isinstance(layer, LoraLinear) else path: layer
            for path, layer in lora_layers(model).items()
        }
        within = tuple(f"{path}." for path in lora_layers(model))
        packed = {path: module for path, module in model.named_modules() if isinstance(module, NF4Weight)}
        self._packed = {path: module for path, module in packed.items() if not path.startswith(within)}
        within += tuple(f"{path}." for path in packed)
        self._plain = {name: value for name, value in model.state_dict().items() if not name.startswith(within)}
        for path, layer in lora_layers(model).items():
            if isinstance(layer, LoraLinear) and layer.bias is not None:
                self._plain[f"{path}.bias"] = layer.bias

    @torch.no_grad()
    def __getitem__(self, name: str) -> Tensor:
        if name in self._adapted:
            return self._adapted[name].merged_weight()
        return self._packed[name].dense() if name in self._packed else self._plain[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self._plain, *self._packed, *self._adapted))

    def __len__(self) -> int:
        return len(self._plain) + len(self._packed) + len(self._adapted)


@contextlib.contextmanager
def as_merged(model: DecoderLM) -> Iterator[None]:
    """Context in which every adapted layer uses its merged weight, recomputed for each product."""
    handles = []
    for layer in lora_layers(model).values():
        if isinstance(layer, LoraLinear):
            handles.append(layer.register_forward_hook(_as_merged))
    stacks = [layer for layer in lora_layers(model).values() if isinstance(layer, LoraExperts)]
    for stack in stacks:  # called by name, so hooks do not run
        merged = stack.merged_weight().detach()
        stack.linear = lambda expert, x, bias, merged=merged: F.linear(x, merged[expert], bias)  # type: ignore
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for stack in stacks:
            del stack.linear


@contextlib.contextmanager
def without_adapters(model: DecoderLM) -> Iterator[DecoderLM]:
    """Context in which all adapters are disabled."""
    layers = lora_layers(model).values()
    for layer in layers:
        name = "forward" if isinstance(layer, LoraLinear) else "linear"
        layer.__dict__[name] = layer.before
    try:
        yield model
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)
            layer.__dict__.pop("linear", None)


def _as_merged(layer: nn.Module, given: Any, _: Tensor) -> Tensor:
    assert isinstance(layer, LoraLinear)
    return F.linear(given[0], layer.merged_weight(), layer.bias)


def lora_layers(model: nn.Module) -> dict[str, LoraLinear | LoraExperts]:
    """Layers and stacks of experts with an adapter, by path, in model order."""
    return {path: module for path, module in model.named_modules() if isinstance(module, (LoraLinear, LoraExperts))}


def lora_shapes(path: str, shape: torch.Size, adapter: Adapter) -> dict[str, tuple[int, ...]]:
    """Names and shapes of this adapter's parameters for a weight of shape [..., out, in]."""
    *stack, outputs, inputs = shape
    shapes: dict[str, tuple[int, ...]] = {
        f"{path}.lora_A": (*stack, adapter.rank, inputs), f"{path}.lora_B": (*stack, outputs, adapter.rank)
    }  # fmt: skip
    return {**shapes, f"{path}.lora_magnitude": (outputs,)} if adapter.dora else shapes


def lora_state(model: DecoderLM) -> dict[str, Tensor]:
    """The trained parameters: those of the adapters, and of the classification head, if any."""
    names = [
        name
        for path, layer in lora_layers(model).items()
        for name in lora_shapes(path, layer.weight.shape, layer.adapter)
    ]
    state = model.state_dict()
    return {name: state[name] for name in [*names, *(name for name in state if name.startswith("score."))]}


@torch.no_grad()
def load_lora_state(model: DecoderLM, state: Mapping[str, Tensor]) -> None:
    """Copy the values of `lora_state` into a model with the same adapters.

    Raises InputError, before any change, unless names and shapes are equal.
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
