"""The frozen matrices of a decoder: which there are, and how they are stored or replaced."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.model.decoder import DecoderLM
from tutelage.model.experts import MixtureOfExperts
from tutelage.model.lora_config import Quantisation
from tutelage.model.nf4 import NF4Linear, NF4Weight

# What chooses among experts stays in full: a small error there sends a token elsewhere.
_CHOOSING = ("router", "shared_gate")
STACKS = ("gate_proj", "up_proj", "down_proj")


def projections(model: DecoderLM) -> dict[str, nn.Linear | NF4Linear]:
    """Plain linear layers inside the blocks by path, e.g. `layers.0.attention.q_proj`, in the model's order; a router,
    which chooses among experts, is none of them."""
    return {
        path: module
        for path, module in model.named_modules()
        if (type(module) is nn.Linear or isinstance(module, NF4Linear))
        and path.startswith("layers.")
        and not path.endswith(".router")
    }


def expert_stacks(model: DecoderLM) -> dict[str, Tensor | NF4Weight]:
    """Matrices of all experts of a layer, [experts, out, in], by path, e.g. `layers.0.mlp.up_proj`."""
    return {
        f"{path}.{name}": stack
        for path, module in model.named_modules()
        if isinstance(module, MixtureOfExperts)
        for name in STACKS
        if isinstance(stack := getattr(module, name, None), (Tensor, NF4Weight))
    }


def dense(weight: Tensor | nn.Module) -> Tensor:
    """The matrix itself, however it is stored; float32 where it was in 4 bits."""
    if isinstance(weight, NF4Weight):
        return weight.dense()
    assert isinstance(weight, Tensor)
    return weight


def is_quantised(model: nn.Module) -> bool:
    return any(isinstance(module, NF4Weight) for module in model.modules())


def quantisation_of(model: nn.Module) -> Quantisation:
    """How its matrices are stored."""
    stored = next((module for module in model.modules() if isinstance(module, NF4Weight)), None)
    if stored is None:
        return "none"
    return "nf4_double" if "absmax_mean" in dict(stored.named_parameters()) else "nf4"


def store_quantised(model: DecoderLM, name: str, value: Tensor, kind: Quantisation) -> dict[str, Tensor] | None:
    """Give the weight of that name its place in 4 bits; what the state dict holds of it then. None: it stays in full.

    `model` may be on the meta device. Embeddings, heads, norms and what chooses among experts stay in full.
    """
    path = name.removesuffix(".weight")
    if path != name and path in projections(model) and not path.endswith(_CHOOSING):
        linear = model.get_submodule(path)
        packed = NF4Weight.of(value, kind)
        replace(model, path, NF4Linear(packed, linear.bias).train(linear.training))  # type: ignore[arg-type]
        return {f"{name}.{part}": each for part, each in packed.state_dict().items()}
    if path == name and name in expert_stacks(model):
        packed = NF4Weight.of(value, kind)
        replace(model, name, packed)
        return {f"{name}.{part}": each for part, each in packed.state_dict().items()}
    return None


@torch.no_grad()
def quantise_model(model: DecoderLM, kind: Quantisation) -> None:
    """Store every matrix inside the blocks in 4 bits, in place and one after the other; what is so already stays."""
    names = [f"{path}.weight" for path, linear in projections(model).items() if type(linear) is nn.Linear]
    names += [path for path, stack in expert_stacks(model).items() if isinstance(stack, Tensor)]
    for name in names:
        store_quantised(model, name, model.get_parameter(name), kind)


def replace(model: nn.Module, path: str, new: nn.Module | nn.Parameter) -> None:
    """Put a module or parameter where another stands."""
    parent, _, name = path.rpartition(".")
    holder = model.get_submodule(parent)
    if name in holder._parameters and isinstance(new, nn.Module):
        del holder._parameters[name]
    if name in holder._modules and isinstance(new, nn.Parameter):
        del holder._modules[name]
    setattr(holder, name, new)
