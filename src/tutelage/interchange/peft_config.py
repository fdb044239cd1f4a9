"""adapter_config.json of PEFT (0.21): supported keys, and the modules it adapts by PEFT's rules.

Unsupported keys are errors; nothing in the config is ignored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tutelage.interchange.peft_layout import Site
from tutelage.model.config import ModelConfig, Pooling
from tutelage.model.hf_config import read_json
from tutelage.model.lora_config import Quantisation
from tutelage.model.lora_layers import Adapter
from tutelage.store.config import Config
from tutelage.store.errors import ConfigError, InputError, nearest

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
OURS = "tutelage.json"  # written beside them: what PEFT cannot store
_MAX_CONFIG_BYTES = 1 << 20
# Keys without effect: metadata, and parameters of options that must be off.
_INERT = {"auto_mapping", "inference_mode", "megatron_core", "peft_version", "qalora_group_size"}
# What PEFT of every version writes beside the keys of `PeftConfig`.
ALSO_WRITTEN: dict[str, Any] = {
    "auto_mapping": None, "inference_mode": True, "loftq_config": {}, "megatron_config": None,
    "megatron_core": "megatron.core",
}  # fmt: skip


class PeftConfig(Config):
    """The supported keys of adapter_config.json. Any other key must be off (null, false, empty)."""

    peft_type: Literal["LORA"]
    task_type: Literal["CAUSAL_LM", "SEQ_CLS"] | None = None
    base_model_name_or_path: str | None = None
    revision: str | None = None
    target_modules: str | tuple[str, ...] = ()
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
    fan_in_fan_out: bool = False
    target_parameters: tuple[str, ...] | None = None
    # PiSSA, OLoRA, CorDA and LoftQ also change the base, so their adapters are invalid on the original base.
    init_lora_weights: bool | Literal["gaussian", "orthogonal"] = True
    # PEFT lists both names for every classifier; a decoder's head is `score`.
    modules_to_save: tuple[Literal["classifier", "score"], ...] | None = None


HEAD = ("multi_label", "ordinal", "pooling", "pool_tokens")  # fields of the model's config


class Sidecar(Config):
    """`tutelage.json` of an adapter that we wrote: storage of the base in training, class names, kind of head, and a
    hash of the base weights."""

    quantisation: Quantisation = "none"
    labels: tuple[str, ...] = ()
    multi_label: bool = False
    ordinal: bool = False
    pooling: Pooling = "last"
    pool_tokens: int = 0
    base: str = ""  # see `peft_base.base_mark`

    @classmethod
    def read(cls, directory: Path) -> Sidecar:
        """Read it; empty for adapters from other programs. Raises InputError for invalid values."""
        path = directory / OURS
        if not path.is_file():
            return cls()
        try:
            return cls.parse(read_json(path, _MAX_CONFIG_BYTES), where=str(path))
        except ConfigError as error:
            raise InputError(error.message, hint=error.hint) from None


def read_config(directory: Path) -> PeftConfig:
    """adapter_config.json of a LoRA adapter. Raises InputError for a key or value that is not supported."""
    path = directory / CONFIG
    if not path.is_file():
        raise InputError(f"{directory} is not an adapter: it has no {CONFIG}")
    data = read_json(path, _MAX_CONFIG_BYTES)
    known = PeftConfig.model_fields
    _check_only_lora(path, data)
    for key, value in data.items():
        if key not in known and key not in _INERT and not (value is None or value is False or value in ([], {})):
            raise InputError(f"{path}: {key}={value!r} is not supported", hint=nearest(key, known))
    try:
        return PeftConfig.parse({key: data[key] for key in known if data.get(key) is not None}, where=str(path))
    except ConfigError as error:
        raise InputError(error.message, hint=error.hint) from None


def _check_only_lora(path: Path, data: Mapping[str, Any]) -> None:
    """Raises InputError for an adapter with weights other than LoRA and a classification head."""
    saved = data.get("modules_to_save")
    others = [str(name) for name in saved if name not in ("classifier", "score")] if isinstance(saved, list) else []
    if others:
        what = f"it includes fully trained modules: {', '.join(others)} (modules_to_save)"
    elif data.get("trainable_token_indices"):
        what = "it includes trained rows of the embedding (trainable_token_indices)"
    else:
        return
    raise InputError(
        f"{path}: {what}, which is not supported",
        hint="merge it into its base with PEFT's merge_and_unload and open the merged model",
    )


def described(
    config: ModelConfig, on: Mapping[str, Adapter], sites: Mapping[str, Site], base_model: str | None
) -> PeftConfig:
    """The config by which PEFT would adapt the same sites (name -> settings) in the same way."""
    if len({(one.dropout, one.rslora, one.dora) for one in on.values()}) > 1:
        raise InputError("PEFT has one dropout, rslora and dora for all modules; these adapters differ in them")
    first = next(iter(on.values()))
    rank = Counter(one.rank for one in on.values()).most_common(1)[0][0]
    alpha = Counter(one.alpha for one in on.values()).most_common(1)[0][0]
    modules = {name: one for name, one in on.items() if not sites[name].experts}
    leaves = sorted({_leaf(name) for name in modules})
    layers = sorted({layer for layer in map(_layer, modules) if layer is not None})
    there = [name for name, site in sites.items() if not site.experts]
    as_grid = {name for name in there if _matches(tuple(leaves), name) and _layer(name) in layers} == set(modules)
    whole = len(layers) == config.num_layers
    return PeftConfig(
        peft_type="LORA",
        task_type="SEQ_CLS" if config.num_labels else "CAUSAL_LM",
        base_model_name_or_path=base_model,
        target_modules=tuple(leaves) if as_grid else tuple(sorted(modules)),
        target_parameters=tuple(name for name in sites if sites[name].experts and name in on) or None,
        layers_to_transform=tuple(layers) if as_grid and not whole and modules else None,
        fan_in_fan_out=any(sites[name].transposed for name in modules),
        r=rank,
        lora_alpha=_as_written(alpha),
        rank_pattern=_patterns({name: one.rank for name, one in on.items()}, rank),
        alpha_pattern=_patterns({name: _as_written(one.alpha) for name, one in on.items()}, _as_written(alpha)),
        lora_dropout=first.dropout,
        use_rslora=first.rslora,
        use_dora=first.dora,
        modules_to_save=("classifier", "score") if config.num_labels else None,
    )


def _patterns(values: Mapping[str, Any], usual: Any) -> dict[str, Any]:
    """Values other than `usual`: by the last part of the name if all modules of that name agree, else by full name."""
    by_leaf: dict[str, set[Any]] = {}
    for name, value in values.items():
        by_leaf.setdefault(_leaf(name), set()).add(value)
    return {
        _leaf(name) if len(by_leaf[_leaf(name)]) == 1 else name: value
        for name, value in values.items()
        if value != usual
    }


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _as_written(alpha: float) -> int | float:
    return int(alpha) if float(alpha).is_integer() else alpha


def planned(config: PeftConfig, sites: Mapping[str, Site], inside: set[str]) -> dict[str, Adapter]:
    """Names of the sites that the config adapts, each with its settings. inside: those that can be adapted here."""
    plan = {}
    for name, site in {**dict.fromkeys(("lm_head",)), **sites}.items():
        if site is not None and site.experts:
            if not any(name == wanted or name.endswith(f".{wanted}") for wanted in config.target_parameters or ()):
                continue
            if config.use_dora or config.lora_dropout:
                raise InputError(f"{name}: experts do not support dora and dropout")
        elif not _is_target(config, name, inside_block=name in inside):
            continue
        if name not in inside:
            raise InputError(f"an adapter on {name} is not supported", hint="only projections inside the blocks are")
        rank = config.rank_pattern.get(_pattern(config.rank_pattern, name), config.r)
        alpha = config.alpha_pattern.get(_pattern(config.alpha_pattern, name), config.lora_alpha)
        if rank < 1:
            raise InputError(f"rank_pattern gives {name} the rank {rank}")
        plan[name] = Adapter(rank, alpha, config.lora_dropout, config.use_rslora, config.use_dora)
    for wanted in config.target_parameters or ():
        if not any(name == wanted or name.endswith(f".{wanted}") for name in plan):
            raise InputError(f"target_parameters: the model has no experts {wanted!r}")
    if not plan:
        raise InputError(f"target_modules {config.target_modules!r} names no module of the model")
    if config.fan_in_fan_out and not any(sites[name].transposed for name in plan):
        raise InputError("fan_in_fan_out applies to transposed weights (Conv1D), and these are not transposed")
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
        return True  # PEFT checks the layer only for partial names
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
