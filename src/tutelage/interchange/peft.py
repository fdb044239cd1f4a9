"""Read and write LoRA adapters in PEFT's layout: adapter_config.json and adapter_model.safetensors.

Matrices that transformers fuses, or stacks as experts of a layer, have one adapter in PEFT and several here
(`peft_layout`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tutelage.interchange.peft_base import base_mark
from tutelage.interchange.peft_config import (
    ALSO_WRITTEN,
    CONFIG,
    HEAD,
    OURS,
    WEIGHTS,
    PeftConfig,
    Sidecar,
    described,
    planned,
    read_config,
)
from tutelage.interchange.peft_layout import joined, parted, require_sites, sites
from tutelage.model.adaptable import expert_stacks, quantisation_of, quantise_model
from tutelage.model.decoder import DecoderLM
from tutelage.model.lora import load_lora_state, lora_layers, lora_state, place_adapters, projections, shared_copy
from tutelage.model.lora_layers import Adapter, LoraExperts, LoraLinear
from tutelage.store.errors import DamagedError, InputError
from tutelage.store.files import write_json

__all__ = [
    "PeftConfig", "Sidecar", "check_adaptable", "load_adapter", "load_sum", "plain_state", "read_config",
    "save_adapter", "with_head_of",
]  # fmt: skip

_PREFIX = "base_model.model."
_PARTS = {"lora_A": "lora_A.weight", "lora_B": "lora_B.weight", "lora_magnitude": "lora_magnitude_vector"}


def check_adaptable(model: DecoderLM) -> None:
    """Raises InputError unless the model's adapters can be written as PEFT's."""
    _as_sites(model)


def save_adapter(model: DecoderLM, directory: Path, base_model: str | None = None) -> None:
    """Write the adapters of `model` (and its classification head) as PEFT does, float32.

    `base_model` becomes `base_model_name_or_path`. PiSSA adapters become adapters of twice the rank on the original
    weights (`plain_state`). The storage of the base and the label names go to `tutelage.json`. Raises InputError for a
    model without adapters, an adapter without a counterpart in transformers, and settings that PEFT cannot express.
    """
    if not lora_layers(model):
        raise InputError("the model has no adapters to write", hint="they may have been merged")
    on, tensors = _as_sites(model)
    config = described(model.config, on, sites(model.config), base_model)
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / CONFIG, dict(sorted({**config.plain(), **ALSO_WRITTEN}.items())))
    tensors |= {_PREFIX + name: value for name, value in model.state_dict().items() if name.startswith("score.")}
    save_file(
        {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in tensors.items()},
        directory / WEIGHTS,
        metadata={"format": "pt"},
    )
    head = {name: getattr(model.config, name) for name in HEAD}
    labels = list(model.config.labels)
    mark = base_mark(model)
    write_json(directory / OURS, {"quantisation": quantisation_of(model), **head, "labels": labels, "base": mark})


def load_adapter(model: DecoderLM, directory: Path) -> PeftConfig:
    """Load the adapter in `directory` into `model`, in place; returns its config, which names its base model.

    For an adapter trained on a 4-bit base, the base is quantised again, so that results are as in training. Names and
    shapes are checked before any tensor is read or the model changed. Raises InputError for unsupported or mismatching
    adapters, DamagedError for files that cannot be read.
    """
    if lora_layers(model):
        raise InputError("the model already has adapters", hint="merge them first")
    config, there = read_config(directory), sites(model.config)
    ours = {*projections(model), *expert_stacks(model)}
    plan = planned(config, there, {name for name, site in there.items() if ours.issuperset(site.paths)})
    keys = _keys(plan)
    expected = {
        f"{keys[name]}.{_PARTS[part]}": shape
        for name, adapter in plan.items()
        for part, shape in there[name].shapes(adapter).items()
    }
    if config.modules_to_save:
        if not model.config.num_labels:
            raise InputError(f"{directory} has a classification head but the model has none")
        heads = {name: value for name, value in model.state_dict().items() if name.startswith("score.")}
        expected |= {_PREFIX + name: tuple(value.shape) for name, value in heads.items()}
    quantisation = Sidecar.read(directory).quantisation
    found = _read_tensors(directory, expected)
    adapters: dict[str, Adapter] = {}
    state: dict[str, Tensor] = {}
    for name, adapter in plan.items():
        tensors = {part: found[f"{keys[name]}.{_PARTS[part]}"] for part in there[name].shapes(adapter)}
        some, values = parted(there[name], adapter, tensors)
        adapters |= some
        state |= values
    state |= {name.removeprefix(_PREFIX): value for name, value in found.items() if name.startswith(f"{_PREFIX}score.")}
    if quantisation != "none":
        quantise_model(model, quantisation)
    place_adapters(model, adapters, seed=0)
    load_lora_state(model, {**lora_state(model), **state})
    return config


def load_sum(model: DecoderLM, parts: Mapping[Path, float]) -> None:
    """Load the weighted sum of several adapters into `model`, in place: exactly, as one adapter whose rank is the sum
    of theirs (PEFT's `add_weighted_adapter`, "cat").

    Raises InputError if the sum is not a LoRA: with DoRA, classification heads, or different storage of the bases.
    """
    found = []
    for directory in parts:
        one = shared_copy(model)
        if load_adapter(one, directory).modules_to_save:
            raise InputError(f"{directory} has fully trained modules (modules_to_save): such adapters cannot be summed")
        found.append((one, parts[directory]))
    if len({quantisation_of(one) for one, _ in found}) != 1:
        raise InputError("these adapters were trained on bases with different quantisation")
    weights: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for one, weight in found:
        state = plain_state(one)
        for path, layer in lora_layers(one).items():
            if layer.adapter.dora:
                raise InputError("adapters with DoRA cannot be summed: DoRA also rescales the base weights")
            scale = weight * layer.adapter.scale
            weights.setdefault(path, []).append((scale * state[f"{path}.lora_A"], state[f"{path}.lora_B"]))
    if (kind := quantisation_of(found[0][0])) != "none":
        quantise_model(model, kind)
    ranks = {path: sum(down.shape[-2] for down, _ in each) for path, each in weights.items()}
    place_adapters(model, {path: Adapter(rank, float(rank)) for path, rank in ranks.items()}, seed=0)
    state = lora_state(model)
    for path, each in weights.items():
        state[f"{path}.lora_A"] = torch.cat([down for down, _ in each], dim=-2)
        state[f"{path}.lora_B"] = torch.cat([up for _, up in each], dim=-1)
    load_lora_state(model, state)


def with_head_of(model: DecoderLM, directory: Path) -> DecoderLM:
    """`model`, turned into a classifier in place if the adapter has a head and the model has none.

    The labels are those of `tutelage.json`, or numbered. Raises DamagedError if the weights cannot be read.
    """
    if model.config.num_labels or not read_config(directory).modules_to_save:
        return model
    key = f"{_PREFIX}score.weight"
    try:
        with safe_open(directory / WEIGHTS, "pt") as file:
            count = file.get_slice(key).get_shape()[0] if key in file.keys() else 0  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"{directory / WEIGHTS} cannot be read: {error}") from None
    ours = Sidecar.read(directory)
    if count and len(ours.labels) in (0, count):
        head = {name: getattr(ours, name) for name in HEAD}
        model.config = model.config.with_(num_labels=count, labels=ours.labels, **head)
        model.score = nn.Linear(model.config.hidden_size, count, bias=False).to(model.embed_tokens.weight.device)
    return model


def plain_state(model: DecoderLM) -> dict[str, Tensor]:
    """`lora_state` relative to the original weights: for PiSSA B A - B0 A0, as one product of twice the rank
    (Meng et al. 2024, appendix C)."""
    state = lora_state(model)
    for path, layer in lora_layers(model).items():
        if layer.start_A is not None and layer.start_B is not None:
            state[f"{path}.lora_A"] = torch.cat([layer.lora_A, layer.start_A], dim=-2)
            state[f"{path}.lora_B"] = torch.cat([layer.lora_B, -layer.start_B], dim=-1)
    return state


def plain_adapter(layer: LoraLinear | LoraExperts) -> Adapter:
    """Settings under which `plain_state` is equivalent to the layer."""
    one = layer.adapter
    if layer.start_A is None:
        return one
    return Adapter(2 * one.rank, one.alpha * (2**0.5 if one.rslora else 2), one.dropout, one.rslora)


def _as_sites(model: DecoderLM) -> tuple[dict[str, Adapter], dict[str, Tensor]]:
    """Settings by site, and tensors by PEFT's names, of the model's adapters."""
    layers = lora_layers(model)
    place = require_sites(model.config, list(layers))
    adapters = {path: plain_adapter(layer) for path, layer in layers.items()}
    if any(site.experts for site in place.values()) and any(one.dropout or one.dora for one in adapters.values()):
        raise InputError(
            "PEFT supports neither dropout nor dora for experts", hint="set lora.dropout to 0 and lora.dora to false"
        )
    state = plain_state(model)
    on, found = {}, {}
    for site in dict.fromkeys(place.values()):
        some = {path: adapters[path] for path in site.paths if path in adapters}
        on[site.name], found[site.name] = joined(site, some, state)
    keys = _keys(on)
    tensors = {f"{keys[name]}.{_PARTS[part]}": value for name in on for part, value in found[name].items()}
    return on, tensors


def _keys(on: Mapping[str, Adapter]) -> dict[str, str]:
    """Prefix of the tensor names of each site. With two parameters of one module PEFT wraps the second around the
    first, and both have the module's name."""
    found = {}
    for name in on:
        module, _, leaf = name.rpartition(".")
        if not module.endswith(".experts"):
            found[name] = _PREFIX + name
        else:
            inner = leaf == "gate_up_proj" and f"{module}.down_proj" in on
            found[name] = f"{_PREFIX}{module}" + (".base_layer" if inner else "")
    return found


def _read_tensors(directory: Path, expected: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors by PEFT name; `expected`: their shapes, which are all checked before any tensor is read."""
    path = directory / WEIGHTS
    if not path.is_file():
        raise InputError(f"{directory} has no {WEIGHTS}", hint="weights in pickle format (.bin) are never opened")
    state = {}
    try:
        with safe_open(path, "pt") as file:
            present = set(file.keys())
            if present != expected.keys():
                missing, unexpected = sorted(expected.keys() - present), sorted(present - expected.keys())
                raise InputError(
                    f"{path} does not fit {CONFIG} and the model",
                    hint=f"missing {missing[:3] or 'none'}, unexpected {unexpected[:3] or 'none'}",
                )
            for key, shape in expected.items():
                header = file.get_slice(key)
                if tuple(header.get_shape()) != shape:
                    raise InputError(f"{path}: {key} has shape {header.get_shape()}, the model requires {list(shape)}")
                if header.get_dtype() not in ("F32", "F16", "BF16", "F64"):
                    raise InputError(f"{path}: {key} has unsupported dtype {header.get_dtype()}")
            for key in expected:
                state[key] = file.get_tensor(key).float()
                if not torch.isfinite(state[key]).all():
                    raise InputError(f"{path}: {key} contains non-finite values")
    except SafetensorError as error:
        raise DamagedError(f"{path} cannot be read: {error}") from None
    return state
