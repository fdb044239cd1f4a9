"""`tutelage.load`: any model a user can name, ready to be used, with adapters if wanted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import torch

from tutelage.inference import language_model
from tutelage.inference.language_model import LanguageModel
from tutelage.interchange.source import is_foreign, locate, open_model, stored_in_four_bits
from tutelage.model.lora_config import Quantisation
from tutelage.model.pack import is_packed, pack
from tutelage.model.packed import kernels_are_fast
from tutelage.store.device import Precision, choose_device, choose_precision
from tutelage.store.errors import ConfigError, nearest
from tutelage.store.events import EventLog

Weights = Literal["auto", "float32", "bfloat16", "int8", "int4"]
"""How a model that is only used holds its matrices, for `load`."""

AdapterSource = Path | str | Mapping[str, float]


def load(
    source: Path | str,
    device: str = "auto",
    dtype: Precision = "float32",
    log: EventLog | None = None,
    adapters: Mapping[str, AdapterSource] | None = None,
    quantisation: Quantisation = "none",
    weights: Weights | None = None,
) -> LanguageModel:
    """Load a run (its chat model), artifact or model directory, a .gguf file, `smollm2`, or org/name on the hub.

    device: "auto" takes the GPU where there is one. dtype: "float32", "bfloat16", or "auto" for the fast one.
    adapters: name -> directory in PEFT's layout, or {directory: weight} for the sum of several; used by
    `with_adapter(name)`, while the weights exist once. quantisation: "nf4" or "nf4_double" holds matrices in 4 bits.
    weights: in place of dtype and quantisation, for a model that is to be used and not trained or saved: "int4", "int8"
    and "bfloat16" are several times as fast on a CPU (see `model.pack`); "auto" takes the 4 bits of a GGUF file as they
    are where this processor multiplies them fast, and float32 otherwise (on a GPU bfloat16).
    Raises InputError that says what is there if it is no model, DamagedError if its files are not whole.
    """
    if weights is not None:
        lm = _load_for_use(str(source), choose_device(device), weights, log or EventLog(), adapted=bool(adapters))
    elif not is_foreign(str(source)):
        lm = language_model.load(source, device, dtype, quantisation)
    else:
        place = choose_device(device)
        made = open_model(str(source), log or EventLog(), place, choose_precision(dtype, place), quantisation)
        lm = LanguageModel(*made)
    for name, adapter in (adapters or {}).items():
        lm.adapters[name] = adapted(lm, adapter, log)
    return lm


def _load_for_use(source: str, device: torch.device, weights: Weights, log: EventLog, adapted: bool) -> LanguageModel:
    if weights not in get_args(Weights):
        raise ConfigError(f"weights {weights!r} are not known", hint=nearest(weights, get_args(Weights)))
    if device.type != "cpu" and weights in ("int8", "int4"):
        raise ConfigError(f"weights in {weights} are for a CPU", hint="on a GPU use bfloat16")
    foreign = is_foreign(source)
    if weights == "auto":
        in_blocks = foreign and not adapted and kernels_are_fast(device) and stored_in_four_bits(locate(source, log))
        weights = "int4" if in_blocks else "float32" if device.type == "cpu" else "bfloat16"
    elif weights in ("int8", "int4") and not kernels_are_fast(device):
        log.warn(f"weights in {weights}: this processor has no fast kernels for them, float32 is faster here")
    if weights == "float32" or device.type != "cpu":
        return load(source, str(device), "float32" if weights == "float32" else "bfloat16", log)
    if adapted:
        raise ConfigError(f"adapters cannot be put on weights in {weights}", hint="leave the weights as they are")
    if foreign:
        return LanguageModel(*open_model(source, log, device, packing=weights))
    lm = load(source, str(device))
    pack(lm.model, weights)
    return lm


def adapted(lm: LanguageModel, adapter: AdapterSource, log: EventLog | None = None) -> LanguageModel:
    """A model of the same weights with an adapter, or with the sum of several ({directory: weight}); `lm` stays as it
    is. A tokenizer that lies beside the adapter is used. The log is told of an adapter that learned beside others."""
    from tutelage.interchange.peft import load_adapter, load_sum, with_head_of
    from tutelage.interchange.peft_base import strange_base
    from tutelage.model.lora import shared_copy
    from tutelage.tokenizer.tokenizer import Tokenizer

    if is_packed(lm.model):
        raise ConfigError("adapters cannot be put on weights that are packed for use", hint="load them as float32")
    model = shared_copy(lm.model)
    if isinstance(adapter, Mapping):
        load_sum(model, {Path(directory).expanduser(): weight for directory, weight in adapter.items()})
        return LanguageModel(model, lm.tokenizer)
    directory = Path(adapter).expanduser()
    load_adapter(with_head_of(model, directory), directory)
    if log is not None and (said := strange_base(model, directory)):
        log.warn(said)
    own = (directory / "tokenizer.json").is_file()
    return LanguageModel(model, Tokenizer.load(directory) if own else lm.tokenizer)
