"""LoRA adapters in PEFT's layout, in and out: adapter_config.json and adapter_model.safetensors.

Which modules are adapted and with which rank is decided by PEFT's own rules (0.21), on Hugging Face module names.
What is not supported is refused by name; nothing in the config is passed over.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tutelage.model.adaptable import quantisation_of, quantise_model
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FAMILIES
from tutelage.model.hf_config import read_json
from tutelage.model.lora import (
    Adapter,
    LoraExperts,
    LoraLinear,
    load_lora_state,
    lora_layers,
    lora_shapes,
    lora_state,
    place_adapters,
    projections,
    shared_copy,
)
from tutelage.model.lora_config import Quantisation
from tutelage.model.nf4 import NF4Linear
from tutelage.store.config import Config
from tutelage.store.errors import ConfigError, DamagedError, InputError, nearest
from tutelage.store.files import write_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
OURS = "tutelage.json"  # beside them: what PEFT has no place for
_PREFIX = "base_model.model."
_PARTS = {"lora_A": "lora_A.weight", "lora_B": "lora_B.weight", "lora_magnitude": "lora_magnitude_vector"}
_MAX_CONFIG_BYTES = 1 << 20
# Keys that tell of the writer, or of how an option that must be off would work: they change nothing.
_INERT = {"auto_mapping", "inference_mode", "megatron_core", "peft_version", "qalora_group_size"}
# What PEFT of every version writes beside the keys of `PeftConfig`.
_ALSO_WRITTEN: dict[str, Any] = {
    "auto_mapping": None, "inference_mode": True, "loftq_config": {}, "megatron_config": None,
    "megatron_core": "megatron.core",
}  # fmt: skip


class PeftConfig(Config):
    """The keys of adapter_config.json that are honoured. A key which is not here must be off (null, false, empty)."""

    peft_type: Literal["LORA"]
    task_type: Literal["CAUSAL_LM", "SEQ_CLS"] | None = None
    base_model_name_or_path: str | None = None
    revision: str | None = None
    target_modules: str | tuple[str, ...]
    exclude_modules: str | tuple[str, ...] | None = None
    layers_to_transform: int | tuple[int, ...] | None = None
    layers_pattern: str | tuple[str, ...] | None = None
    r: int = Field(8, ge=1)
    lora_alpha: int | float = Field(8, allow_inf_nan=False)
    rank_pattern: dict[str, int] = Field(default_factory=dict)
    alpha_pattern: dict[str, int | float] = Field(default_factory=dict)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    use_rslora: bool = False
    use_dora: bool = False
    bias: Literal["none"] = "none"
    fan_in_fan_out: Literal[False] = False
    # PiSSA, OLoRA, CorDA and LoftQ change the base as well: their adapters mean nothing on the base itself.
    init_lora_weights: bool | Literal["gaussian", "orthogonal"] = True
    # PEFT lists both names for every classifier; a decoder's head is `score`.
    modules_to_save: tuple[Literal["classifier", "score"], ...] | None = None


class Sidecar(Config):
    """What stands in `tutelage.json` beside an adapter that was written here: how its base was stored as it learned,
    and the names of its classes."""

    quantisation: Quantisation = "none"
    labels: tuple[str, ...] = ()

    @classmethod
    def read(cls, directory: Path) -> Sidecar:
        """Of an adapter that was not written here it says nothing. Raises InputError for what it cannot be."""
        path = directory / OURS
        if not path.is_file():
            return cls()
        try:
            return cls.parse(read_json(path, _MAX_CONFIG_BYTES), where=str(path))
        except ConfigError as error:
            raise InputError(error.message, hint=error.hint) from None


def save_adapter(model: DecoderLM, directory: Path, base_model: str | None = None) -> None:
    """Write the adapters of `model` (and its classification head) as PEFT does, float32.

    `base_model` becomes `base_model_name_or_path`. Adapters of PiSSA become adapters of twice the rank on the weights
    as they were before it (`plain_state`). How the base is stored and the names of labels go to
    `tutelage.json`. Raises InputError for a model without adapters, for a family
    whose projections are not one to one with the Hugging Face modules, and for settings PEFT cannot express.
    """
    layers = lora_layers(model)
    if not layers:
        raise InputError("the model has no adapters to write", hint="they may have been merged")
    names = hf_names(model.config, [*projections(model), *layers])
    config = _described(model, names, base_model)
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / CONFIG, dict(sorted({**config.plain(), **_ALSO_WRITTEN}.items())))
    tensors = {
        _key(name, names): value.detach().to("cpu", torch.float32).contiguous()
        for name, value in plain_state(model).items()
    }
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    ours = {"quantisation": quantisation_of(model), "labels": list(model.config.labels)}
    write_json(directory / OURS, ours)


def load_adapter(model: DecoderLM, directory: Path) -> PeftConfig:
    """Put the adapter in `directory` on `model`, in place; returns its config, which names the base it was made for.

    An adapter that learned beside a base in 4 bits puts the base into them again: it computes what it did then. Names
    and shapes are checked against the model before a tensor is read or the model touched. Raises InputError
    for what is not supported or does not fit, DamagedError for files that cannot be read.
    """
    if lora_layers(model):
        raise InputError("the model already has adapters", hint="merge them first")
    config = read_config(directory)
    names = hf_names(model.config, _adaptable(model))
    plan = _plan(model, config, names)
    found = projections(model)
    shapes = {
        name: shape
        for path, adapter in plan.items()
        for name, shape in lora_shapes(path, found[path].weight.shape, adapter).items()
    }
    if config.modules_to_save:
        if not model.config.num_labels:
            raise InputError(f"{directory} brings a classification head but the model has none")
        shapes |= {name: tuple(value.shape) for name, value in model.state_dict().items() if name.startswith("score.")}
    quantisation = Sidecar.read(directory).quantisation
    state = _read_tensors(directory, {_key(name, names): (name, shape) for name, shape in shapes.items()})
    if quantisation != "none":
        quantise_model(model, quantisation)
    place_adapters(model, plan, seed=0)
    load_lora_state(model, {**lora_state(model), **state})
    return config


def load_sum(model: DecoderLM, parts: Mapping[Path, float]) -> None:
    """Put the weighted sum of the changes of several adapters on `model`, in place: exactly, as one adapter whose rank
    is the sum of theirs (PEFT's `add_weighted_adapter`, "cat").

    Raises InputError where that is no LoRA: with DoRA, with classification heads, beside bases stored in several ways.
    """
    found = []
    for directory in parts:
        one = shared_copy(model)
        if load_adapter(one, directory).modules_to_save:
            raise InputError(f"{directory} brings whole modules: adapters with those are not summed")
        found.append((one, parts[directory]))
    if len({quantisation_of(one) for one, _ in found}) != 1:
        raise InputError("these adapters learned beside bases that were stored in different ways")
    weights: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for one, weight in found:
        state = plain_state(one)
        for path, layer in lora_layers(one).items():
            if layer.adapter.dora:
                raise InputError("adapters with DoRA have no sum: it stretches what is there already")
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
    """`model`, in place a classifier if the adapter brings a head and the model has none; its labels are those that
    were written beside it, or numbered."""
    if model.config.num_labels or not read_config(directory).modules_to_save:
        return model
    key = f"{_PREFIX}score.weight"
    try:
        with safe_open(directory / WEIGHTS, "pt") as file:
            count = file.get_slice(key).get_shape()[0] if key in file.keys() else 0  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"{directory / WEIGHTS} cannot be read: {error}") from None
    labels = Sidecar.read(directory).labels
    if count and len(labels) in (0, count):
        model.config = model.config.with_(num_labels=count, labels=labels)
        model.score = nn.Linear(model.config.hidden_size, count, bias=False).to(model.embed_tokens.weight.device)
    return model


def plain_state(model: DecoderLM) -> dict[str, Tensor]:
    """`lora_state` on the weights as they were: of PiSSA with its beginning taken off again, B A - B0 A0 as one product
    of twice the rank (Meng et al. 2024, appendix C)."""
    state = lora_state(model)
    for path, layer in lora_layers(model).items():
        if layer.start_A is not None and layer.start_B is not None:
            state[f"{path}.lora_A"] = torch.cat([layer.lora_A, layer.start_A], dim=-2)
            state[f"{path}.lora_B"] = torch.cat([layer.lora_B, -layer.start_B], dim=-1)
    return state


def plain_adapter(layer: LoraLinear | LoraExperts) -> Adapter:
    """Settings under which `plain_state` computes what the layer computes."""
    one = layer.adapter
    if layer.start_A is None:
        return one
    return Adapter(2 * one.rank, one.alpha * (2**0.5 if one.rslora else 2), one.dropout, one.rslora)


def read_config(directory: Path) -> PeftConfig:
    """adapter_config.json of a LoRA adapter. Raises InputError for a key or value that is not supported."""
    path = directory / CONFIG
    if not path.is_file():
        raise InputError(f"{directory} is no adapter: it has no {CONFIG}")
    data = read_json(path, _MAX_CONFIG_BYTES)
    known = PeftConfig.model_fields
    for key, value in data.items():
        if key not in known and key not in _INERT and not (value is None or value is False or value in ([], {})):
            raise InputError(f"{path}: {key}={value!r} is not supported", hint=nearest(key, known))
    try:
        return PeftConfig.parse({key: data[key] for key in known if data.get(key) is not None}, where=str(path))
    except ConfigError as error:
        raise InputError(error.message, hint=error.hint) from None


def hf_names(config: ModelConfig, paths: Collection[str]) -> dict[str, str]:
    """Our module paths -> those of the same family in transformers, which must have the same modules.

    Raises InputError where the family fuses or splits them: an adapter of one is then no adapter of the other.
    """
    renamed = {
        weight.ours[0]: weight.theirs[0] for weight in FAMILIES[config.family].weights(config) if weight.only_renamed
    }
    if config.tie_word_embeddings:
        renamed["lm_head.weight"] = "lm_head.weight"
    for path in paths:
        if f"{path}.weight" not in renamed:
            raise InputError(
                f"{path} is not a module of its own in Hugging Face's {config.family}",
                hint="adapters of this family cannot be exchanged with PEFT",
            )
    return {path: renamed[f"{path}.weight"].removesuffix(".weight") for path in paths}


def _adaptable(model: DecoderLM) -> list[str]:
    """Paths of all modules that PEFT could adapt, the embedding and the head among them."""
    return [path for path, module in model.named_modules() if isinstance(module, (nn.Linear, NF4Linear, nn.Embedding))]


def _key(name: str, names: Mapping[str, str]) -> str:
    """PEFT's name of one of our adapter parameters, or of the classification head's."""
    path, _, part = name.rpartition(".")
    return f"{_PREFIX}{names[path]}.{_PARTS[part]}" if path in names and part in _PARTS else _PREFIX + name


def _described(model: DecoderLM, names: Mapping[str, str], base_model: str | None) -> PeftConfig:
    """The config by which PEFT would adapt the same modules in the same way."""
    adapters = {names[path]: plain_adapter(layer) for path, layer in lora_layers(model).items()}
    if len({(adapter.dropout, adapter.rslora, adapter.dora) for adapter in adapters.values()}) > 1:
        raise InputError("PEFT has one dropout, rslora and dora for all modules; these adapters differ in them")
    first = next(iter(adapters.values()))
    rank = Counter(adapter.rank for adapter in adapters.values()).most_common(1)[0][0]
    alpha = Counter(adapter.alpha for adapter in adapters.values()).most_common(1)[0][0]
    leaves = sorted({name.rpartition(".")[2] for name in adapters})
    layers = sorted({layer for layer in map(_layer, adapters) if layer is not None})
    as_grid = {name for name in names.values() if _matches(tuple(leaves), name) and _layer(name) in layers}
    whole = len(layers) == model.config.num_layers
    return PeftConfig(
        peft_type="LORA",
        task_type="SEQ_CLS" if model.config.num_labels else "CAUSAL_LM",
        base_model_name_or_path=base_model,
        target_modules=tuple(leaves) if as_grid == set(adapters) else tuple(sorted(adapters)),
        layers_to_transform=tuple(layers) if as_grid == set(adapters) and not whole else None,
        r=rank,
        lora_alpha=_as_written(alpha),
        rank_pattern={name: one.rank for name, one in adapters.items() if one.rank != rank},
        alpha_pattern={name: _as_written(one.alpha) for name, one in adapters.items() if one.alpha != alpha},
        lora_dropout=first.dropout,
        use_rslora=first.rslora,
        use_dora=first.dora,
        modules_to_save=("classifier", "score") if model.config.num_labels else None,
    )


def _as_written(alpha: float) -> int | float:
    return int(alpha) if float(alpha).is_integer() else alpha


def _plan(model: DecoderLM, config: PeftConfig, names: Mapping[str, str]) -> dict[str, Adapter]:
    """Our paths of the modules that the config adapts, each with its settings."""
    inside = projections(model)
    plan = {}
    for path, name in names.items():
        if not _is_target(config, name, inside_block=path in inside):
            continue
        if path not in inside:
            raise InputError(f"an adapter on {name} is not supported", hint="only projections inside the blocks are")
        rank = config.rank_pattern.get(_pattern(config.rank_pattern, name), config.r)
        alpha = config.alpha_pattern.get(_pattern(config.alpha_pattern, name), config.lora_alpha)
        if rank < 1:
            raise InputError(f"rank_pattern gives {name} the rank {rank}")
        plan[path] = Adapter(rank, alpha, config.lora_dropout, config.use_rslora, config.use_dora)
    if not plan:
        raise InputError(f"target_modules {config.target_modules!r} names no module of the model")
    return plan


def _is_target(config: PeftConfig, name: str, inside_block: bool) -> bool:
    if config.exclude_modules and _matches(config.exclude_modules, name):
        return False
    if any(re.match(rf"(^|.*\.){saved}($|\..*)", name) for saved in config.modules_to_save or ()):
        return False
    if isinstance(config.target_modules, str):
        if config.target_modules.lower() == "all-linear":
            return inside_block
        return _matches(config.target_modules, name)
    if name in config.target_modules:
        return True  # PEFT asks for the layer only of names that are not given whole
    if not _matches(config.target_modules, name):
        return False
    if config.layers_to_transform is None or config.layers_to_transform == ():
        return True
    layers = config.layers_to_transform
    return _layer(name, config.layers_pattern) in (layers if isinstance(layers, tuple) else (layers,))


def _matches(targets: str | tuple[str, ...], name: str) -> bool:
    """PEFT's rule: a string is a regular expression for the whole name, a list has names or ends of names."""
    if isinstance(targets, str):
        return _compiled(targets).fullmatch(name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _pattern(patterns: Mapping[str, Any], name: str) -> str:
    """The first key of rank_pattern or alpha_pattern that fits the name, else the name (PEFT's `get_pattern_key`)."""
    for key in patterns:
        if _compiled(rf"(.*\.)?({key})$", given=key).match(name):
            return key
    return name


def _compiled(pattern: str, given: str | None = None) -> re.Pattern[str]:
    """A regular expression from a file. Refuses those that can take exponentially long to match."""
    text = pattern if given is None else given
    plain = re.sub(r"\\.", "", text)
    if len(text) > 2000 or re.search(r"\)[*+{]", plain) or len(re.findall(r"[*+{]", plain)) > 6:
        raise InputError(f"the pattern {text[:80]!r} is too complex", hint="list the module names instead")
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        raise InputError(f"{text[:80]!r} is not a regular expression") from None


def _layer(name: str, patterns: str | tuple[str, ...] | None = None) -> int | None:
    """Number of the block a module is in: the first number in its name, after one of `patterns` where given."""
    for pattern in (patterns,) if isinstance(patterns, str) and patterns else patterns or (r"[^.]*",):
        found = _compiled(rf"(?:^|.*?\.){pattern}\.(?P<layer>\d+)\.", given=pattern).match(name)
        if found:
            return int(found["layer"])
    return None


def _read_tensors(directory: Path, expected: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Tensor]:
    """Tensors by our names; `expected`: PEFT's name -> (ours, shape). Nothing is read before all of it fits."""
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
            for key, (_, shape) in expected.items():
                header = file.get_slice(key)
                if tuple(header.get_shape()) != shape:
                    raise InputError(f"{path}: {key} has shape {header.get_shape()}, the model wants {list(shape)}")
                if header.get_dtype() not in ("F32", "F16", "BF16", "F64"):
                    raise InputError(f"{path}: {key} has dtype {header.get_dtype()}, which is no weight's")
            for key, (name, _) in expected.items():
                state[name] = file.get_tensor(key).float()
                if not torch.isfinite(state[name]).all():
                    raise InputError(f"{path}: {key} holds values that are not finite")
    except SafetensorError as error:
        raise DamagedError(f"{path} cannot be read: {error}") from None
    return state
