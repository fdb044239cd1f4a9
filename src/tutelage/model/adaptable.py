"""The matrices of a decoder that can be frozen, quantised or adapted: enumeration, storage and replacement."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.model.decoder import DecoderLM
from tutelage.model.experts import MixtureOfExperts
from tutelage.model.lora_config import Quantisation
from tutelage.model.nf4 import NF4Linear, NF4Weight

# Routers stay in full precision: a small error there changes the choice of experts.
_CHOOSING = ("router", "shared_gate")
STACKS = ("gate_proj", "up_proj", "down_proj")


def projections(model: DecoderLM) -> dict[str, nn.Linear | NF4Linear]:
    """Linear layers inside the blocks by path, e.g. `layers.0.attention.q_proj`, in model order, without routers."""
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
    """The dense matrix, independent of its storage; float32 if it was stored in 4 bits."""
    if isinstance(weight, NF4Weight):
        return weight.dense()
    assert isinstance(weight, Tensor)
    return weight


def is_quantised(model: nn.Module) -> bool:
    return any(isinstance(module, NF4Weight) for module in model.modules())


def quantisation_of(model: nn.Module) -> Quantisation:
    """The storage format of the model's matrices."""
    stored = next((module for module in model.modules() if isinstance(module, NF4Weight)), None)
    if stored is None:
        return "none"
    return "nf4_double" if "absmax_mean" in dict(stored.named_parameters()) else "nf4"


def store_quantised(model: DecoderLM, name: str, value: Tensor, kind: Quantisation) -> dict[str, Tensor] | None:
    """Replace the weight of that name by 4-bit storage and return its state dict entries; None if it is not quantised.

    `model` may be on the meta device. Embeddings, heads, norms and routers are not quantised.
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
    """Quantise every matrix inside the blocks to 4 bits, in place, one at a time; already quantised ones are
    skipped."""
    names = [f"{path}.weight" for path, linear in projections(model).items() if type(linear) is nn.Linear]
    names += [path for path, stack in expert_stacks(model).items() if isinstance(stack, Tensor)]
    for name in names:
        store_quantised(model, name, model.get_parameter(name), kind)


def replace(model: nn.Module, path: str, new: nn.Module | nn.Parameter) -> None:
    """Replace a module or parameter by path."""
    parent, _, name = path.rpartition(".")
    holder = model.get_submodule(parent)
    if name in holder._parameters and isinstance(new, nn.Module):
        del holder._parameters[name]
    if name in holder._modules and isinstance(new, nn.Parameter):
        del holder._modules[name]
    setattr(holder, name, new)
